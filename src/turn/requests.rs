//! Control messages: parse, authenticate, ask the method's file, answer.

use crate::stun::message::{Malformed, ParseError};
use crate::stun::{Class, Message, Reply, classic};
use crate::time::Now;
use crate::turn::Server;
use crate::turn::auth::{AuthFailure, Caller};
use crate::turn::counters::{Answer, Method};
use crate::turn::output::{ClientRef, DropReason, Output, Verdict};
use crate::turn::ports::RelayPorts;

/// One request and where it came from.
pub(super) struct Request<'a> {
    pub now: Now,
    pub now_ns: u64,
    pub client: ClientRef,
    pub method: Method,
    pub message: Message<'a>,
}

/// Why an authenticated request is not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Error(Answer),
    /// 420: these attributes must be understood and are not.
    Unknown(Vec<u16>),
}

impl From<Answer> for Refusal {
    fn from(answer: Answer) -> Self {
        Self::Error(answer)
    }
}

impl From<Malformed> for Refusal {
    fn from(_: Malformed) -> Self {
        Self::Error(Answer::BadRequest)
    }
}

impl Server {
    pub(super) fn handle_message(
        &mut self,
        now: Now,
        now_ns: u64,
        client: ClientRef,
        bytes: &[u8],
        relays: &mut impl RelayPorts,
    ) -> Result<Verdict, DropReason> {
        let message = match Message::parse(bytes) {
            Ok(message) => message,
            Err(ParseError::NoCookie) => return self.answer_classic(client, bytes),
            Err(ParseError::NotStun) => return Err(DropReason::Unrecognized),
            Err(ParseError::Length | ParseError::Overrun | ParseError::Fingerprint) => {
                return Err(DropReason::Malformed);
            }
        };
        match (message.class(), Method::of(message.method())) {
            (Class::Request, Some(method)) => {
                let request = Request {
                    now,
                    now_ns,
                    client,
                    method,
                    message,
                };
                self.handle_request(&request, relays)
            }
            (Class::Request, None) => Err(DropReason::UnknownMethod),
            // A keepalive: nothing to do, nothing to answer (RFC 8489 §6.3.2).
            (Class::Indication, Some(Method::Binding)) => Ok(Verdict::Consumed),
            (Class::Indication | Class::Success | Class::Error, _) => {
                Err(DropReason::UnexpectedMessage)
            }
        }
    }

    /// RFC 3489 knew UDP only, and the framing of streams lets none of this through.
    fn answer_classic(&mut self, client: ClientRef, bytes: &[u8]) -> Result<Verdict, DropReason> {
        let answer = classic::answer(bytes, client.five_tuple.client.socket_addr());
        let bytes = answer.ok_or(DropReason::Unrecognized)?;
        self.counters
            .count_request(Method::Binding, Answer::Success);
        self.outputs.push_back(Output::Reply { client, bytes });
        Ok(Verdict::Consumed)
    }

    fn handle_request(
        &mut self,
        request: &Request,
        relays: &mut impl RelayPorts,
    ) -> Result<Verdict, DropReason> {
        if request.method == Method::Binding {
            let result = self.binding(request);
            self.answer(request, result, None);
            return Ok(Verdict::Consumed);
        }
        let caller = match self.authenticate(request) {
            Ok(caller) => caller,
            Err(failure) => return self.refuse_stranger(request, failure),
        };
        let result = self.serve(request, &caller, relays);
        self.answer(request, result, Some(&caller));
        Ok(Verdict::Consumed)
    }

    fn serve(
        &mut self,
        request: &Request,
        caller: &Caller,
        relays: &mut impl RelayPorts,
    ) -> Result<Reply, Refusal> {
        check_attributes(&request.message)?;
        match request.method {
            Method::Binding => self.binding(request),
            Method::Allocate => self.allocate(request, caller, relays),
            Method::Refresh => self.refresh(request, caller),
            Method::CreatePermission => self.create_permission(request, caller),
            Method::ChannelBind => self.channel_bind(request, caller),
            Method::Connect => self.connect(request, caller),
            Method::ConnectionBind => self.connection_bind(request),
        }
    }

    /// Sends what was decided, protected with the caller's key.
    fn answer(
        &mut self,
        request: &Request,
        result: Result<Reply, Refusal>,
        caller: Option<&Caller>,
    ) {
        let message = &request.message;
        let (answer, mut reply) = match result {
            Ok(reply) => (Answer::Success, reply),
            Err(Refusal::Error(answer)) => (answer, error(message, answer)),
            Err(Refusal::Unknown(unknown)) => {
                let answer = Answer::UnknownAttribute;
                let mut reply = error(message, answer);
                reply.add_unknown(&unknown);
                (answer, reply)
            }
        };
        self.counters.count_request(request.method, answer);
        // Not for strangers: it would make a reflector of Binding.
        if let (Some(software), Some(_)) = (&self.settings.software, caller) {
            reply.add_software(software);
        }
        let bytes = reply.finish(caller.and_then(Caller::key));
        let client = request.client;
        self.outputs.push_back(Output::Reply { client, bytes });
    }

    /// Answers who is not authenticated, as briefly as can be, and nobody too often.
    fn refuse_stranger(
        &mut self,
        request: &Request,
        failure: AuthFailure,
    ) -> Result<Verdict, DropReason> {
        let answer = match failure {
            AuthFailure::Unauthorized => Answer::Unauthorized,
            AuthFailure::StaleNonce => Answer::StaleNonce,
            AuthFailure::BadRequest => Answer::BadRequest,
            AuthFailure::TooManyFailures => return Err(DropReason::FailedAuthenticationRate),
        };
        if !self.may_answer_stranger(request) {
            return Err(DropReason::UnauthenticatedRate);
        }
        let mut reply = error(&request.message, answer);
        if answer != Answer::BadRequest {
            self.add_challenge(request, &mut reply);
        }
        self.counters.count_request(request.method, answer);
        let (client, bytes) = (request.client, reply.finish(None));
        self.outputs.push_back(Output::Reply { client, bytes });
        Ok(Verdict::Consumed)
    }
}

/// RFC 8489 §6.3.1: after authentication, before anything else.
pub(super) fn check_attributes(message: &Message) -> Result<(), Refusal> {
    let unknown = message.unknown_required();
    if unknown.is_empty() {
        Ok(())
    } else {
        Err(Refusal::Unknown(unknown))
    }
}

fn error(message: &Message, answer: Answer) -> Reply {
    match answer.code() {
        Some(code) => Reply::error(message, code, answer.reason()),
        None => Reply::success(message),
    }
}
