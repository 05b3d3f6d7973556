//! One attempt: account, order, challenges, certificate (RFC 8555 §7.3, §7.4, §7.5).
//!
//! Every step is logged. All challenges of an order are open at once and until it has left `pending`: an authority may come
//! from several places, and more than once.

use super::Settings;
use super::client::Client;
use super::failure::{Cause, Failure, sentence};
use super::state::{State, StoredAccount};
use crate::secret::Secret;
use crate::tls::challenge::{Challenges, Open};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, ExternalAccountKey, Identifier, NewAccount,
    NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// From the first challenge to the certificate; Pebble and Let's Encrypt take seconds, company authorities may ask a person.
const ORDER_TIMEOUT: Duration = Duration::from_secs(600);
/// Beginnings of one attempt, as long as nothing but nonces is refused.
const NONCE_ROUNDS: usize = 3;
/// The authority is asked how far it is after this time, then more and more rarely, or when it says.
const POLL_FIRST: Duration = Duration::from_millis(500);
const POLL_GROWTH: f32 = 1.5;

/// What one attempt works with.
pub struct Attempt<'a> {
    pub settings: &'a Settings,
    pub client: &'a Client,
    pub challenges: &'a Arc<Challenges>,
    pub state: &'a State,
}

impl Attempt<'_> {
    /// Chain and private key in PEM. `unsaved` is the account as it could not be written, before and after.
    pub async fn run(&self, unsaved: &mut Option<Secret>) -> Result<String, Failure> {
        // RFC 8555 §6.5: a refused nonce says nothing of the request. The crate has tried it three times by then.
        for _ in 1..NONCE_ROUNDS {
            match self.once(unsaved).await {
                Err(failure) if failure.cause.is_bad_nonce() => {}
                other => return other,
            }
        }
        self.once(unsaved).await
    }

    async fn once(&self, unsaved: &mut Option<Secret>) -> Result<String, Failure> {
        let account = match self.restore(unsaved).await? {
            Some(restored) => restored,
            None => self.register(unsaved).await?,
        };
        let order = match self.place(&account).await {
            // The authority has forgotten the account, as test servers do at every start.
            Err(failure) if failure.cause.is_unknown_account() => {
                let authority = self.settings.authority();
                warn!(
                    authority,
                    "the account is unknown there: registering another one"
                );
                let account = self.register(unsaved).await?;
                self.place(&account).await?
            }
            other => other?,
        };
        self.complete(order).await
    }

    fn failure(&self, step: &'static str, cause: impl Into<Cause>) -> Failure {
        Failure {
            step,
            cause: cause.into(),
            retry_after: self.client.retry_after(),
        }
    }

    /// The account of before, from memory or disk; the directory is read afresh.
    async fn restore(&self, unsaved: &mut Option<Secret>) -> Result<Option<Account>, Failure> {
        let kept = unsaved.as_ref().and_then(StoredAccount::of_text);
        let stored = match kept {
            Some(kept) => Some(kept),
            None => self.state.account().unwrap_or_else(|error| {
                warn!(error = %sentence(&error), "the stored account cannot be used: registering another one");
                None
            }),
        };
        let Some(stored) = stored.filter(|stored| stored.directory == self.settings.directory)
        else {
            return Ok(None);
        };
        let text = stored.text();
        let builder = Account::builder_with_http(Box::new(self.client.clone()));
        let account = builder.from_credentials(stored.credentials).await;
        let account = account.map_err(|error| self.failure("reach the directory", error))?;
        if stored.contact != self.settings.contact {
            self.tell_contact(&account, &text, unsaved).await;
        }
        Ok(Some(account))
    }

    async fn register(&self, unsaved: &mut Option<Secret>) -> Result<Account, Failure> {
        let step = "register an account";
        let external = self.settings.external_account.as_ref();
        let external = external
            .map(|external| {
                let key = external.key.expose().trim_end_matches('=');
                let key = BASE64_URL_SAFE_NO_PAD
                    .decode(key)
                    .map_err(|error| self.failure(step, Cause::Crypto(Box::new(error))))?;
                Ok(ExternalAccountKey::new(external.key_id.clone(), &key))
            })
            .transpose()?;
        let contact = mail_addresses(&self.settings.contact);
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let wanted = NewAccount {
            contact: &contact,
            // The configuration has no settings without it.
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let directory = self.settings.directory.clone();
        let builder = Account::builder_with_http(Box::new(self.client.clone()));
        let (account, credentials) = builder
            .create(&wanted, directory, external.as_ref())
            .await
            .map_err(|error| self.failure(step, error))?;
        info!(
            authority = self.settings.authority(),
            account = account.id(),
            "registered an account"
        );
        let stored = StoredAccount {
            directory: self.settings.directory.clone(),
            contact: self.settings.contact.clone(),
            credentials,
        };
        self.keep(&stored, unsaved);
        Ok(account)
    }

    /// Writes the account at once: who loses it registers another one at every start.
    fn keep(&self, account: &StoredAccount, unsaved: &mut Option<Secret>) {
        let text = account.text();
        *unsaved = match self.state.save_account(&text) {
            Ok(()) => None,
            Err(error) => {
                warn!(error = %sentence(&error), "the account is in memory only");
                Some(text)
            }
        };
    }

    /// RFC 8555 §7.3.2. A failure is no reason not to go on: the authority can still be asked for a certificate.
    async fn tell_contact(&self, account: &Account, text: &Secret, unsaved: &mut Option<Secret>) {
        let contact = mail_addresses(&self.settings.contact);
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        if let Err(error) = account.update_contacts(&contact).await {
            let cause = Cause::from(error);
            warn!(error = %sentence(&cause), "the authority does not take the changed contact");
            return;
        }
        info!("told the authority the changed contact");
        if let Some(mut stored) = StoredAccount::of_text(text) {
            stored.contact.clone_from(&self.settings.contact);
            self.keep(&stored, unsaved);
        }
    }

    async fn place(&self, account: &Account) -> Result<Order, Failure> {
        let names = &self.settings.names;
        let identifiers: Vec<Identifier> = names.iter().cloned().map(Identifier::Dns).collect();
        let mut wanted = NewOrder::new(&identifiers);
        if let Some(profile) = &self.settings.profile {
            wanted = wanted.profile(profile);
        }
        let order = account.new_order(&wanted).await;
        let order = order.map_err(|error| self.failure("order a certificate", error))?;
        info!(
            authority = self.settings.authority(),
            names = names.join(" "),
            order = order.url(),
            "ordered a certificate"
        );
        Ok(order)
    }

    async fn complete(&self, mut order: Order) -> Result<String, Failure> {
        let step = "complete the order";
        let completed = async {
            self.prove(&mut order).await?;
            self.fetch(&mut order).await
        };
        match tokio::time::timeout(ORDER_TIMEOUT, completed).await {
            Ok(pem) => pem,
            Err(_) => Err(self.failure(step, Cause::Slow)),
        }
    }

    /// Opens a challenge for each name that is not proven yet, and waits for the verdict.
    async fn prove(&self, order: &mut Order) -> Result<(), Failure> {
        let step = "prove the names";
        let open = self.open(order).await?;
        if order.state().status != OrderStatus::Pending {
            return Ok(());
        }
        let polled = order.poll_ready(&poll()).await;
        drop(open);
        match polled {
            Ok(OrderStatus::Ready) => {
                info!("the names are proven");
                Ok(())
            }
            Ok(_) | Err(instant_acme::Error::Api(_)) => {
                let asked = self.refusal(order).await;
                let cause = match (asked, polled) {
                    (Some(cause), _) => cause,
                    (None, Err(error)) => error.into(),
                    (None, Ok(status)) => Cause::Answer(format!("the order is {status:?}")),
                };
                Err(self.failure(step, cause))
            }
            Err(error) => Err(self.failure(step, error)),
        }
    }

    async fn open(&self, order: &mut Order) -> Result<Vec<Open>, Failure> {
        let step = "prove the names";
        let mut open = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| self.failure(step, error))?;
            let name = authorization.identifier().to_string();
            match authorization.status {
                AuthorizationStatus::Pending => {}
                // RFC 8555 §7.1.3: an earlier proof may still be good.
                AuthorizationStatus::Valid => {
                    info!(names = name, "the name is proven already");
                    continue;
                }
                status => {
                    let cause = Cause::Answer(format!("the authorization of {name} is {status:?}"));
                    return Err(self.failure(step, cause));
                }
            }
            let Some(mut challenge) = authorization.challenge(ChallengeType::TlsAlpn01) else {
                return Err(self.failure(step, Cause::NoChallenge { name }));
            };
            let digest = challenge.key_authorization().digest();
            let answer = answer(self.challenges, &name, digest.as_ref());
            open.push(answer.map_err(|cause| self.failure(step, cause))?);
            challenge
                .set_ready()
                .await
                .map_err(|error| self.failure(step, error))?;
            info!(
                names = name,
                "waiting for the authority to validate the name over TLS"
            );
        }
        Ok(open)
    }

    /// What the authority says against a name, which it says in the challenge, not in the order.
    async fn refusal(&self, order: &mut Order) -> Option<Cause> {
        let mut authorizations = order.authorizations();
        // Polling has made the crate forget what it knew of them: these are fetched.
        while let Some(Ok(authorization)) = authorizations.next().await {
            let name = authorization.identifier().to_string();
            let mut challenges = authorization.challenges.iter();
            let Some(problem) = challenges.find_map(|challenge| challenge.error.clone()) else {
                continue;
            };
            if let Cause::Refused { kind, detail } = problem.into() {
                return Some(Cause::Validation { name, kind, detail });
            }
        }
        None
    }

    async fn fetch(&self, order: &mut Order) -> Result<String, Failure> {
        let step = "fetch the certificate";
        let crypto = |error: rcgen::Error| self.failure(step, Cause::Crypto(Box::new(error)));
        // A key of its own for each certificate: who got hold of an old one has nothing.
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(crypto)?;
        let mut params = CertificateParams::new(self.settings.names.clone()).map_err(crypto)?;
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key).map_err(crypto)?;
        order
            .finalize_csr(request.der())
            .await
            .map_err(|error| self.failure(step, error))?;
        let chain = order.poll_certificate(&poll()).await;
        let chain = chain.map_err(|error| self.failure(step, error))?;
        Ok(format!("{}\n{}", chain.trim_end(), key.serialize_pem()))
    }
}

/// RFC 8737 §3: a self-signed certificate for the name alone, with the key authorization's digest.
fn answer(challenges: &Arc<Challenges>, name: &str, digest: &[u8]) -> Result<Open, Cause> {
    let crypto = |error: rcgen::Error| Cause::Crypto(Box::new(error));
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(crypto)?;
    let mut params = CertificateParams::new([name.to_owned()]).map_err(crypto)?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key).map_err(crypto)?;
    challenges
        .open(name, certificate.into(), key.into())
        .map_err(|error| Cause::Crypto(Box::new(error)))
}

fn mail_addresses(contact: &[String]) -> Vec<String> {
    let uri = |address: &String| format!("mailto:{address}");
    contact.iter().map(uri).collect()
}

fn poll() -> RetryPolicy {
    RetryPolicy::new()
        .initial_delay(POLL_FIRST)
        .backoff(POLL_GROWTH)
        .timeout(ORDER_TIMEOUT)
}
