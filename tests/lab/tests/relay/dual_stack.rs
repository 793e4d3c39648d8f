//! A server with both families of which one is dead, and clients that choose the address themselves.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use mailport_lab::Fate;
use mailport_lab::mta::HOST;

use crate::programs::{Entry, Letter, Program, deliver};
use crate::{LISTENERS, V4, V6, World, body, redirect};

/// Far below the 30 s after which a dial to the dead family alone fails, and the minutes of the
/// kernel; the figures are in docs/benchmarks.md.
const SOON: Duration = Duration::from_secs(15);

impl World {
    /// Every port of this address is silent.
    fn dies(&self, address: IpAddr) {
        for port in [587, 25, 465] {
            self.lab.set(address, port, Fate::Silent);
        }
    }
}

fn is_sent(world: &World, program: Program, entry: Entry, port: u16) {
    let subject = format!("{program:?} {entry} {port}, a family is dead");
    let (addresses, body) = (&[V6, V4], body(&subject));
    let began = Instant::now();
    let letter = Letter { program, entry, port, addresses, subject: &subject, body: &body };
    assert_eq!(deliver(world, letter), Some(port), "{}", world.story(&subject));
    assert!(began.elapsed() < SOON, "{:?}: {}", began.elapsed(), world.story(&subject));
}

#[test]
fn a_dead_family_keeps_no_client_from_587_whichever_address_it_asks_for() {
    thread::scope(|scope| {
        for dead in [V6, V4] {
            scope.spawn(move || {
                let world = World::new();
                world.dies(dead);
                for program in Program::ALL {
                    for entry in [Entry::Fixed, Entry::Socks, Entry::Transparent(dead)] {
                        is_sent(&world, program, entry, 587);
                    }
                }
                is_sent(&world, Program::Curl, Entry::Http, 465);
                is_sent(&world, Program::Curl, Entry::Transparent(dead), 465);
            });
        }
    });
}

#[test]
fn without_names_ipv6_is_reset_and_clients_turn_to_ipv4_at_once() {
    let at = LISTENERS.iter().position(|option| *option == "--names").expect("they have names");
    let without: Vec<&str> = [&LISTENERS[..at], &LISTENERS[at + 2..]].concat();
    let world = World::with(mailport_lab::mta::Software::Postfix, &without);
    redirect(&world.lab, &[]);
    world.dies(V6);
    world.relay.logs("ipv6_not_relayed", 2);
    for program in [Program::Msmtp, Program::Curl] {
        is_sent(&world, program, Entry::Transparent(V6), 587);
    }
    let syns = world.lab.syns();
    assert!(syns.iter().all(|syn| syn.address != V6), "nothing was sent over IPv6: {syns:?}");
}

#[test]
fn a_proxy_fails_for_an_ipv6_address_without_a_name_so_soon_that_the_client_tries_the_next() {
    let world = World::new();
    world.dies(V6);
    let unknown = "unnamed.example.test";
    world.lab.hosts(&[(unknown, V6), (unknown, V4), (HOST, V4)]).expect("the lab's own file");
    let began = Instant::now();
    let reply = crate::listeners::socks_at_proxy(&world.lab, V6, 587);
    assert!(reply.is_some_and(|code| code != 0), "{reply:?}: {}", world.story(""));
    let took = began.elapsed();
    assert!((Duration::from_millis(1900)..SOON).contains(&took), "{took:?}");
}
