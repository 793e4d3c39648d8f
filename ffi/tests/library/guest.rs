//! The library in a program that it did not choose.

use std::process::Command;

use crate::c::{output_of, program};
use crate::common::{Port, open};

const GUEST: &str = "ffi/tests/guest/guest.c";

#[test]
fn a_look_up_has_room_beside_thread_local_data_and_leaves_a_sandbox_its_signal() {
    let open = open();
    let plan = format!("{}:starttls", open.port());
    output_of(Command::new(program(GUEST, &["-ldl"])).args(["sandbox", &plan]));
}

#[test]
fn a_look_up_that_can_have_no_thread_names_the_limit() {
    output_of(Command::new(program(GUEST, &["-ldl"])).arg("address-space"));
}
