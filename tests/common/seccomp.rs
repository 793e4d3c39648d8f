//! System calls that a sandbox refuses, for one thread and the processes that it starts.
#![allow(unsafe_code, reason = "prctl and seccomp are system calls")]

/// A refusal: a system call, where its first argument lacks these bits (0 for any argument), and the
/// error that it gets.
pub(crate) struct Refused {
    pub(crate) call: libc::c_long,
    pub(crate) without: u32,
    pub(crate) errno: i32,
}

/// Runs `test` on a thread to which these system calls are refused.
pub(crate) fn refusing<T: Send>(calls: &[Refused], test: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let refused = scope.spawn(|| {
            install(calls);
            test()
        });
        refused.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn install(calls: &[Refused]) {
    // Offsets in `struct seccomp_data`; the low half of the first argument, on little-endian machines.
    const NUMBER: u32 = 0;
    const ARGUMENT: u32 = 16;
    let statement = |code: u32, k: u32| libc::sock_filter {
        code: u16::try_from(code).expect("a small number"),
        jt: 0,
        jf: 0,
        k,
    };
    let jump =
        |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { jt, jf, ..statement(code, k) };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let mut program = Vec::new();
    for refused in calls {
        let call = u32::try_from(refused.call).expect("a small number");
        let errno = u32::try_from(refused.errno).expect("a small number");
        program.push(statement(load, NUMBER));
        program.push(jump(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call, 0, 3));
        program.push(statement(load, ARGUMENT));
        // With one of the bits it is allowed; without any bits to look for, never.
        program.push(jump(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, refused.without, 1, 0));
        program.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno));
    }
    program.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW));
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).expect("a short program"),
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the filter outlives the calls, which change this thread alone.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_SET_MODE_FILTER;
        assert_eq!(libc::syscall(libc::SYS_seccomp, mode, 0, &raw const filter), 0);
    }
}
