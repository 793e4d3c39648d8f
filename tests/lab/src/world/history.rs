//! What happened in a world, in order.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mailport::Outcome;
use mailport::machine::{Answer, AttemptId, Observation, Query};
use mailport::outcome::Failure;
use mailport::report::{Attempt, End, LookupError};
use mailport::{Report, Service};

use super::kernel::SYNS;

/// Something that happened, and when, from the beginning of the dial.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// When.
    pub at: Duration,
    /// What.
    pub what: What,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A look-up ended.
    Answered {
        /// What was asked for.
        query: Query,
        /// What it brought.
        result: Result<Vec<IpAddr>, LookupError>,
    },
    /// The machine started an attempt.
    Connect {
        /// The attempt.
        attempt: AttemptId,
        /// Where to.
        address: SocketAddr,
    },
    /// The machine started an attempt through the proxy.
    Through {
        /// The attempt.
        attempt: AttemptId,
        /// The port of the target.
        port: u16,
    },
    /// A handshake was done.
    Connected {
        /// The attempt.
        attempt: AttemptId,
    },
    /// A connection was found good for use.
    Confirmed {
        /// The attempt.
        attempt: AttemptId,
    },
    /// The first byte of a greeting came.
    Greeted {
        /// The attempt.
        attempt: AttemptId,
    },
    /// The dial stopped with a question.
    Asked {
        /// Its number.
        question: u32,
        /// The service that would come next.
        next: Service,
        /// What it says.
        words: String,
    },
    /// The question was withdrawn.
    Withdrawn,
    /// The user answered.
    Said(Answer),
    /// An attempt failed, or a held connection was closed by the peer.
    Failed {
        /// The attempt.
        attempt: AttemptId,
        /// How.
        failure: Failure,
    },
    /// The machine closed an attempt.
    Close {
        /// The attempt.
        attempt: AttemptId,
    },
    /// The result was there.
    End(End),
}

/// A SYN that left the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Syn {
    /// When, from the beginning of the dial.
    pub at: Duration,
    /// Where to.
    pub address: SocketAddr,
}

/// All that happened in one dial.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// In order; actions of one turn in the order in which the machine gave them.
    pub log: Vec<Entry>,
    /// What the machine says of it.
    pub report: Report,
    /// What it teaches.
    pub observations: Vec<Observation>,
}

impl History {
    /// Every connect that was started: when, and where to.
    pub fn connects(&self) -> impl Iterator<Item = (Duration, SocketAddr)> + '_ {
        self.log.iter().filter_map(|entry| match entry.what {
            What::Connect { address, .. } => Some((entry.at, address)),
            _ => None,
        })
    }

    /// Every SYN, retransmissions included, by time. Connects that this machine's own kernel
    /// refused sent none.
    pub fn syns(&self) -> Vec<Syn> {
        let mut syns: Vec<Syn> = self
            .log
            .iter()
            .filter_map(|entry| match entry.what {
                What::Connect { attempt, address } => Some((entry.at, attempt, address)),
                _ => None,
            })
            .flat_map(|(started, attempt, address)| {
                let until = self.sends_no_more(attempt);
                let is_ours = until == started;
                let sent = syns_between(started, until).take(if is_ours { 0 } else { usize::MAX });
                sent.map(move |at| Syn { at, address })
            })
            .collect();
        syns.sort_by_key(|syn| syn.at);
        syns
    }

    /// When an attempt sent its last SYN at the latest.
    fn sends_no_more(&self, of: AttemptId) -> Duration {
        let end = self.log.iter().find(|entry| match entry.what {
            What::Connected { attempt }
            | What::Failed { attempt, .. }
            | What::Close { attempt } => attempt == of,
            _ => false,
        });
        end.or(self.log.last()).map_or(Duration::ZERO, |entry| entry.at)
    }

    /// The attempts that were open after each entry of the log, in the order of their start.
    pub fn open(&self) -> Vec<(Duration, Vec<AttemptId>)> {
        let mut open: Vec<AttemptId> = Vec::new();
        let after = self.log.iter().map(|entry| {
            match entry.what {
                What::Connect { attempt, .. } | What::Through { attempt, .. } => open.push(attempt),
                What::Failed { attempt, .. } | What::Close { attempt } => {
                    open.retain(|&other| other != attempt);
                }
                _ => {}
            }
            (entry.at, open.clone())
        });
        after.collect()
    }

    /// How the dial ended, for people; the address and port that won.
    pub fn winner(&self) -> Option<SocketAddr> {
        self.report.winner().and_then(|attempt| attempt.address)
    }

    /// The story in lines that a test can hold against what it expects: milliseconds, what
    /// happened, the port, and the address as `v6` or `v4` (`v6b` is the second one, and so on).
    pub fn script(&self) -> String {
        let mut script = String::new();
        let mut connected_at = None;
        for entry in &self.log {
            let line = match &entry.what {
                What::Answered { .. } => continue,
                What::Connect { attempt, .. } => format!("connect {}", self.place(*attempt)),
                What::Through { port, .. } => format!("through {port}"),
                What::Asked { question, .. } => format!("asks {question}"),
                What::Withdrawn => "withdrawn".to_owned(),
                What::Said(answer) => format!("said {}", answer.name()),
                What::Greeted { attempt } => format!("greeted {}", self.place(*attempt)),
                What::Connected { attempt } => {
                    connected_at = Some((entry.at, *attempt));
                    format!("connected {}", self.place(*attempt))
                }
                What::Confirmed { attempt } if connected_at == Some((entry.at, *attempt)) => {
                    continue;
                }
                What::Confirmed { attempt } => format!("confirmed {}", self.place(*attempt)),
                What::Failed { attempt, failure } => {
                    format!("{} {}", failure.outcome, self.place(*attempt))
                }
                What::Close { attempt } => {
                    let reported =
                        self.attempt(*attempt).and_then(|a| a.outcome).map_or("?", Outcome::name);
                    format!("close {} {reported}", self.place(*attempt))
                }
                What::End(End::Connected(index)) => {
                    format!("wins {}", self.place(AttemptId(*index)))
                }
                What::End(end) => format!("ends {}", format!("{end:?}").to_lowercase()),
            };
            let _ = writeln!(script, "{} {line}", milliseconds(entry.at));
        }
        script
    }

    /// Holds the story against the lines that a test expects.
    #[track_caller]
    pub fn reads(&self, expected: &str) {
        let expected = expected.lines().map(str::trim).filter(|line| !line.is_empty());
        let expected = expected.fold(String::new(), |text, line| text + line + "\n");
        let script = self.script();
        assert!(script == expected, "expected:\n{expected}\nhappened:\n{script}");
    }

    fn attempt(&self, attempt: AttemptId) -> Option<&Attempt> {
        self.report.attempts.get(attempt.0)
    }

    fn place(&self, of: AttemptId) -> String {
        let address = self.log.iter().find_map(|entry| match entry.what {
            What::Connect { attempt, address } if attempt == of => Some(address),
            _ => None,
        });
        let Some(address) = address else {
            let through = self.log.iter().find_map(|entry| match entry.what {
                What::Through { attempt, port } if attempt == of => Some(port),
                _ => None,
            });
            return through
                .map_or_else(|| format!("attempt {}", of.0), |port| format!("{port} far"));
        };
        format!("{} {}", address.port(), self.nickname(address.ip()))
    }

    fn nickname(&self, address: IpAddr) -> String {
        let family = if address.is_ipv4() { "v4" } else { "v6" };
        let known = self.log.iter().find_map(|entry| match &entry.what {
            What::Answered { result: Ok(list), .. } => {
                let mut of_family = list.iter().filter(|a| a.is_ipv4() == address.is_ipv4());
                of_family.position(|&a| a == address)
            }
            _ => None,
        });
        match known {
            Some(0) => family.to_owned(),
            Some(index) => {
                format!("{family}{}", char::from(b'a' + u8::try_from(index % 26).unwrap_or(0)))
            }
            None => address.to_string(),
        }
    }
}

/// When SYNs are sent by a connect that lasts from one time to another. The first always is; one
/// that falls due as the connect ends is not.
pub(super) fn syns_between(started: Duration, until: Duration) -> impl Iterator<Item = Duration> {
    let lasted = until.saturating_sub(started);
    SYNS.into_iter()
        .take_while(move |&offset| offset.is_zero() || offset < lasted)
        .map(move |offset| started + offset)
}

/// `40`, `40.125`
fn milliseconds(time: Duration) -> String {
    match (time.as_millis(), time.as_micros() % 1000) {
        (millis, 0) => millis.to_string(),
        (millis, micros) => format!("{millis}.{micros:03}"),
    }
}
