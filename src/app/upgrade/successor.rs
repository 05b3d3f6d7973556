//! The process that takes over: what it gets from the one before, and what it tells it.

use super::metrics::Counts;
use super::{Head, Message, Offer, PROTOCOL, Upgrades, VARIABLE, receive, send};
use crate::io::{Media, MediaHandle, OfferedReservation};
use crate::secret::Secret;
use crate::sys::clock;
use crate::sys::inherit::{Given, Inherited, Origin};
use crate::sys::passing::{Channel, Parcel};
use crate::tls::{self, CertificateSource, SelfSignedPem};
use crate::turn::{self, NonceState};
use anyhow::{Context as _, bail};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tracing::{info, warn};

/// How long the former process may take to say its next word; it sets a tighter bound itself.
const PATIENCE: Duration = Duration::from_secs(900);

/// How long a word to a former process may hold up this one, which serves.
const WORD_PATIENCE: Duration = Duration::from_millis(100);

/// The process that this one takes over from.
pub struct Former {
    channel: Arc<Channel>,
    offer: Offer,
    sockets: Vec<OwnedFd>,
}

/// What the former process needs to know of this one: its sockets, and the lanes between the workers.
pub struct Taken {
    udp: Vec<(usize, usize)>,
    lanes: Vec<OwnedFd>,
}

impl Former {
    /// `None`: this is an ordinary start. To be called before the process opens anything.
    pub fn from_environment() -> anyhow::Result<Option<Self>> {
        if std::env::var_os(VARIABLE).is_none() {
            return Ok(None);
        }
        let channel = Channel::standard_input();
        let channel = channel.with_context(|| {
            format!("{VARIABLE} is set, but standard input is no relayd that hands over")
        })?;
        channel.set_patience(Some(PATIENCE))?;
        let heard = channel
            .receive()
            .context("cannot read what the former process gives")?;
        let Some(Parcel { text, descriptors }) = heard else {
            bail!("the former process has ended");
        };
        let channel = Arc::new(channel);
        let offer = read_offer(&text).inspect_err(|error| refuse(&channel, &format!("{error:#}")));
        Ok(Some(Self {
            channel,
            offer: offer?,
            sockets: descriptors,
        }))
    }

    pub fn pid(&self) -> u32 {
        self.offer.pid
    }

    /// A first try goes on with the password that was shown.
    pub fn first_try_password(&self) -> Option<&str> {
        self.offer.first_try_password.as_deref()
    }

    /// For the error of a start that fails.
    pub fn ear(&self) -> Ear {
        Ear(Arc::clone(&self.channel))
    }

    pub fn counts(&self) -> Counts {
        self.offer.upgrades
    }

    /// The sockets that it listens on, once.
    pub fn inherited(&mut self) -> anyhow::Result<Inherited> {
        let fds = std::mem::take(&mut self.sockets);
        if fds.len() != self.offer.sockets.len() {
            bail!(
                "the former process gave {} of its {} sockets",
                fds.len(),
                self.offer.sockets.len()
            );
        }
        let given = fds
            .into_iter()
            .zip(&self.offer.sockets)
            .map(|(fd, socket)| {
                let purpose = socket.purpose.into();
                let origin = Origin::Former {
                    purpose,
                    worker: socket.worker,
                    index: socket.index,
                };
                let name = format!("the former process's {} socket", purpose.label());
                Given::new(fd, origin, name)
            });
        Ok(Inherited::new(given.collect::<Result<_, _>>()?))
    }

    pub fn continue_nonces(&self, shared: &turn::Shared) {
        let nonces = &self.offer.nonces;
        let state = NonceState {
            current: nonces.current,
            previous: nonces.previous,
            made_ns: nonces.made_ns,
            now_ns: nonces.now_ns,
        };
        shared.continue_nonces(&state, clock::now().instant());
    }

    /// Clients were told to trust the self-signed certificate that there is.
    pub fn keep_certificate(
        &self,
        store: &tls::Store,
        settings: &tls::Settings,
    ) -> Result<(), tls::Error> {
        let (Some(kept), CertificateSource::SelfSigned { names }) =
            (&self.offer.self_signed, &settings.source)
        else {
            return Ok(());
        };
        if kept.names != *names {
            return Ok(());
        }
        store.keep_self_signed(SelfSignedPem {
            certificate: kept.certificate.clone(),
            key: Secret::new(kept.key.clone()),
        })
    }

    /// Joins the media workers to those of the former process, before they start.
    pub fn join(&self, media: &mut Media) -> anyhow::Result<Taken> {
        Ok(Taken {
            udp: media.taken_over(),
            lanes: media.join_former(self.offer.workers)?,
        })
    }

    /// Lets the former process hand over; returns when it reads no listener any more that this one reads.
    pub fn take_over(&self, taken: Taken, media: &MediaHandle) -> anyhow::Result<()> {
        let lanes: Vec<_> = taken.lanes.iter().map(AsFd::as_fd).collect();
        let ready = Message::Ready { udp: taken.udp };
        send(&self.channel, &ready, &lanes).context("cannot reach the former process")?;
        // Ends of lanes that stayed open here would hide the end of the former process.
        drop(taken.lanes);
        let heard = receive(&self.channel).context("cannot hear the former process")?;
        let Some((Message::Go { reservations }, fds)) = heard else {
            bail!("the former process called the upgrade off");
        };
        let offered = reservations
            .into_iter()
            .zip(fds)
            .map(|(reservation, socket)| OfferedReservation {
                token: reservation.token,
                socket,
                address: reservation.address,
                left: Duration::from_millis(reservation.left_ms),
            });
        media.adopt_reservations(offered.collect());
        Ok(())
    }

    /// Tells it that every listener is served, and watches for its end.
    pub fn serving(self, upgrades: &Upgrades) -> anyhow::Result<()> {
        let (own, former) = (std::process::id(), self.offer.pid);
        upgrades.count(|counts| counts.done += 1);
        upgrades.set_former(former, Arc::clone(&self.channel));
        send(&self.channel, &Message::Serving, &[]).context("cannot reach the former process")?;
        info!(pid = own, former, version = %self.offer.version, "upgraded: this process serves, the former one finishes its calls");
        self.channel.set_patience(None)?;
        self.channel.set_send_patience(WORD_PATIENCE)?;
        let upgrades = upgrades.clone();
        let watch = move || {
            // It has nothing more to say: whatever comes is its end.
            let _ = self.channel.receive();
            upgrades.clear_former();
            info!(pid = own, former, "the former process has ended");
        };
        thread::Builder::new()
            .name("former".to_owned())
            .spawn(watch)
            .context("cannot start a thread")?;
        Ok(())
    }
}

impl Upgrades {
    /// Gives the calls of the former process, if there is one, no longer than those here have.
    pub fn tell_stopping(&self, left: Duration) {
        let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        self.tell_former(&Message::Stopping { left_ms });
    }

    /// Has the former process, if there is one, open its log file again: nobody else asks it to.
    pub fn tell_reopen(&self) {
        self.tell_former(&Message::Reopen);
    }

    fn tell_former(&self, message: &Message) {
        let Some(channel) = self.former_channel() else {
            return;
        };
        if let Err(error) = send(&channel, message, &[]) {
            warn!(%error, "the former process cannot be told");
        }
    }
}

/// Where the former process hears of a failure.
pub struct Ear(Arc<Channel>);

impl Ear {
    pub fn refuse(&self, error: &str) {
        refuse(&self.0, error);
    }

    pub fn refuse_configuration(&self, report: String) {
        // It hears of the end in any case.
        let _ = send(&self.0, &Message::BadConfiguration { report }, &[]);
    }
}

fn refuse(channel: &Channel, error: &str) {
    let failed = Message::Failed {
        error: error.to_owned(),
    };
    // It hears of the end in any case.
    let _ = send(channel, &failed, &[]);
}

fn read_offer(text: &[u8]) -> anyhow::Result<Offer> {
    let own = env!("CARGO_PKG_VERSION");
    let head: Head = serde_json::from_slice(text).context("the former process makes no offer")?;
    if head.protocol != PROTOCOL {
        bail!(
            "relayd {own} cannot take over from relayd {} (hand-over version {PROTOCOL} and {}): restart instead",
            head.version,
            head.protocol
        );
    }
    match serde_json::from_slice(text).context("the former process's offer is broken")? {
        Message::Offer(offer) => Ok(*offer),
        _ => bail!("the former process makes no offer"),
    }
}
