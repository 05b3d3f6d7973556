//! Keys, answers, signals and time, brought to the model; what it asks, carried out.

use super::client::{Answer, Client, Trouble};
use super::model::{Effect, Model};
use super::question::Question;
use super::terminal::{Input, Screen, inputs};
use super::theme::Theme;
use super::{Failure, Options};
use crate::sys::clock;
use crate::sys::signal::stop_self;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;
use tokio::time::{Instant as Deadline, sleep_until};

/// The age of the data and notices move on by themselves.
const REDRAW: Duration = Duration::from_secs(1);

type Answered = (Question, Result<Answer, Trouble>);

/// Runs until the user has seen enough.
pub(super) async fn drive(
    client: Arc<Client>,
    model: Model,
    options: &Options,
) -> Result<(), Failure> {
    let signals = Signals::new().map_err(Failure::Signals)?;
    let screen = Screen::enter().map_err(Failure::Terminal)?;
    let driver = Driver {
        client,
        model,
        theme: options.theme,
        screen,
        signals,
        inputs: inputs().map_err(Failure::Terminal)?,
        answers: JoinSet::new(),
        begun: clock::now().instant(),
    };
    driver.run().await.map_err(Failure::Terminal)
}

struct Driver {
    client: Arc<Client>,
    model: Model,
    theme: Theme,
    screen: Screen,
    signals: Signals,
    inputs: Receiver<Input>,
    answers: JoinSet<Answered>,
    begun: Instant,
}

/// What happens to the driver.
enum Happening {
    Input(Input),
    Answered(Box<Answered>),
    /// Time to ask.
    Tick,
    /// Time to draw.
    Redraw,
    /// SIGTSTP.
    Stop,
    /// SIGCONT: whatever stopped the process, others have used the terminal.
    Continue,
    /// A question has panicked.
    Broken(io::Error),
    /// SIGTERM, SIGHUP, SIGINT, or a terminal that gives no more keys.
    End,
}

impl Driver {
    async fn run(mut self) -> io::Result<()> {
        // What fits is known before it is asked for.
        self.draw()?;
        let first = self.model.tick();
        let mut ticked = Deadline::now();
        if self.carry_out(first)? {
            return Ok(());
        }
        loop {
            let happening = self.next(ticked + self.model.interval).await;
            self.model.now = clock::now().instant().saturating_duration_since(self.begun);
            let effects = match happening {
                Happening::Input(Input::Key(key)) => self.model.key(key),
                Happening::Input(Input::Resized) | Happening::Redraw => Vec::new(),
                Happening::Answered(answered) => self.model.take(&answered.0, answered.1),
                Happening::Tick => {
                    ticked = Deadline::now();
                    self.model.tick()
                }
                Happening::Stop => vec![Effect::Suspend],
                Happening::Continue => {
                    self.screen.leave_for(|| ())?;
                    Vec::new()
                }
                Happening::Broken(error) => return Err(error),
                Happening::End => return Ok(()),
            };
            if self.carry_out(effects)? {
                return Ok(());
            }
            self.draw()?;
        }
    }

    async fn next(&mut self, tick: Deadline) -> Happening {
        tokio::select! {
            input = self.inputs.recv() => input.map_or(Happening::End, Happening::Input),
            Some(answered) = self.answers.join_next() => match answered {
                Ok(answered) => Happening::Answered(Box::new(answered)),
                Err(error) => Happening::Broken(io::Error::other(error)),
            },
            happening = self.signals.next() => happening,
            () = sleep_until(tick) => Happening::Tick,
            () = tokio::time::sleep(REDRAW) => Happening::Redraw,
        }
    }

    /// Draws, and asks for more if there is more room than before.
    fn draw(&mut self) -> io::Result<()> {
        let seen = self.screen.draw(&self.model, self.theme)?;
        let effects = self.model.saw(seen);
        self.carry_out(effects).map(|_| ())
    }

    /// Returns whether it is over.
    fn carry_out(&mut self, effects: Vec<Effect>) -> io::Result<bool> {
        for effect in effects {
            match effect {
                Effect::Ask(question) => {
                    let client = Arc::clone(&self.client);
                    self.answers.spawn(async move {
                        let answer = client.ask(&question).await;
                        (question, answer)
                    });
                }
                Effect::Quit => return Ok(true),
                Effect::Suspend => self.screen.leave_for(stop_self)?,
                Effect::Redraw => self.screen.clear()?,
            }
        }
        Ok(false)
    }
}

struct Signals {
    terminate: Signal,
    hang_up: Signal,
    interrupt: Signal,
    stop: Signal,
    resume: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            stop: signal(SignalKind::from_raw(libc::SIGTSTP))?,
            resume: signal(SignalKind::from_raw(libc::SIGCONT))?,
        })
    }

    async fn next(&mut self) -> Happening {
        tokio::select! {
            _ = self.terminate.recv() => Happening::End,
            _ = self.hang_up.recv() => Happening::End,
            _ = self.interrupt.recv() => Happening::End,
            _ = self.stop.recv() => Happening::Stop,
            _ = self.resume.recv() => Happening::Continue,
        }
    }
}
