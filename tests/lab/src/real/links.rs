//! The addresses and routes of the two namespaces.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};

use super::explain;
use super::tun::DEVICE;

/// The client's address over IPv4.
pub const CLIENT_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2));
/// The client's address over IPv6.
pub const CLIENT_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2));

/// Gives the calling thread's network namespace the client's addresses, and the way to any other.
pub(super) fn set_up_client() -> io::Result<()> {
    let mut script = device_script();
    add_address(&mut script, CLIENT_V4);
    add_address(&mut script, CLIENT_V6);
    add_route(&mut script, "0.0.0.0/0");
    add_route(&mut script, "::/0");
    ip(&script)
}

/// Gives the calling thread's network namespace these addresses, and the way to the client only:
/// a server that wants anything else of the world is refused at once.
pub(super) fn set_up_server(addresses: &[IpAddr]) -> io::Result<()> {
    let mut script = device_script();
    for address in addresses {
        if [CLIENT_V4, CLIENT_V6].contains(address) {
            let message = format!("{address} is the lab's client, so no server can have it");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        add_address(&mut script, *address);
    }
    add_route(&mut script, &CLIENT_V4.to_string());
    add_route(&mut script, &CLIENT_V6.to_string());
    ip(&script)
}

fn device_script() -> String {
    // Without a link-local address and multicast, no packet is sent but for a connection.
    format!(
        "link set lo up\n\
         link set {DEVICE} addrgenmode none\n\
         link set {DEVICE} multicast off\n\
         link set {DEVICE} up\n"
    )
}

fn add_address(script: &mut String, address: IpAddr) {
    // Duplicate address detection would make the address late.
    let (length, flag) = if address.is_ipv4() { (32, "") } else { (128, " nodad") };
    writeln!(script, "address add {address}/{length} dev {DEVICE}{flag}").expect(STRING);
}

fn add_route(script: &mut String, destination: &str) {
    writeln!(script, "route add {destination} dev {DEVICE}").expect(STRING);
}

const STRING: &str = "a String takes everything";

/// Runs a script of the command `ip`.
fn ip(script: &str) -> io::Result<()> {
    let mut process = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(explain("the lab needs the command `ip`, of iproute2"))?;
    let mut input = process.stdin.take().expect("it was given a pipe");
    // It stops reading at the first line that fails; what it says then matters more.
    let written = input.write_all(script.as_bytes());
    drop(input);
    let output = process.wait_with_output()?;
    if output.status.success() {
        return written;
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let complaint = complaint.trim();
    Err(io::Error::other(format!("the lab's `ip` failed ({}): {complaint}", output.status)))
}
