//! Everything that was measured, and where.

use std::fs::File;
use std::io::{BufWriter, Write as _};

use serde_json::json;

use crate::Result;
use crate::cases::Dial;
use crate::clients::Clients;
use crate::loopback::Round;
use crate::machine::Machine;

#[derive(Default)]
pub(crate) struct Records {
    pub(crate) dials: Vec<Dial>,
    pub(crate) rounds: Vec<Round>,
}

impl Records {
    /// Writes one JSON object a line: the machine, the clients, every dial, every round.
    pub(crate) fn write(&self, file: File, machine: &Machine, clients: &Clients) -> Result<()> {
        let Machine { date, kernel, processor, processors } = machine;
        let machine = json!({
            "kind": "machine", "date": date, "kernel": kernel,
            "processor": processor, "processors": processors,
        });
        let clients = clients.dialers.iter().map(
            |client| json!({"kind": "client", "name": client.name, "version": client.version}),
        );
        let dials = self.dials.iter().map(|dial| {
            json!({
                "kind": "dial", "case": dial.case, "client": dial.client, "run": dial.run,
                "milliseconds": dial.answer.milliseconds,
                "port": Some(dial.answer.port).filter(|port| *port != 0),
            })
        });
        let rounds = self.rounds.iter().map(|round| {
            json!({
                "kind": "loopback", "client": round.client, "round": round.turn,
                "microseconds": round.microseconds,
            })
        });
        let mut out = BufWriter::new(file);
        for line in std::iter::once(machine).chain(clients).chain(dials).chain(rounds) {
            writeln!(out, "{line}")?;
        }
        Ok(out.flush()?)
    }
}
