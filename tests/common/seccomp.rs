//! System calls that a sandbox refuses, for one thread and the processes that it starts.
#![allow(unsafe_code, reason = "prctl and seccomp are system calls")]
#![allow(dead_code, reason = "each test uses a part")]

/// A refusal: a system call, where its first argument lacks these bits (0 for any argument), and the
/// error that it gets.
pub(crate) struct Refused {
    pub(crate) call: libc::c_long,
    pub(crate) without: u32,
    pub(crate) errno: i32,
}

/// Runs `test` on a thread to which these system calls are refused.
pub(crate) fn refusing<T: Send>(calls: &[Refused], test: impl FnOnce() -> T + Send) -> T {
    on_a_thread(calls.iter().flat_map(refusal).collect(), test)
}

/// Runs `test` on a thread to which `getsockopt` or `setsockopt` is refused for one option.
pub(crate) fn refusing_option<T: Send>(
    call: libc::c_long,
    (level, name): (i32, i32),
    errno: i32,
    test: impl FnOnce() -> T + Send,
) -> T {
    let program = vec![
        statement(LOAD, NUMBER),
        jump(libc::BPF_JEQ, number(call), 0, 5),
        statement(LOAD, argument(1)),
        jump(libc::BPF_JEQ, number(level), 0, 3),
        statement(LOAD, argument(2)),
        jump(libc::BPF_JEQ, number(name), 0, 1),
        refuse(errno),
    ];
    on_a_thread(program, test)
}

fn on_a_thread<T: Send>(program: Vec<libc::sock_filter>, test: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let refused = scope.spawn(|| {
            install(program);
            test()
        });
        refused.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
/// Where `struct seccomp_data` has the number of the system call.
const NUMBER: u32 = 0;

/// Where it has the low half of an argument, on little-endian machines.
const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

fn number(number: impl TryInto<u32>) -> u32 {
    number.try_into().ok().expect("a small number")
}

fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: u16::try_from(code).expect("a small number"), jt: 0, jf: 0, k }
}

fn jump(test: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { jt, jf, ..statement(libc::BPF_JMP | test | libc::BPF_K, k) }
}

fn refuse(errno: i32) -> libc::sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | number(errno))
}

fn refusal(refused: &Refused) -> [libc::sock_filter; 5] {
    [
        statement(LOAD, NUMBER),
        jump(libc::BPF_JEQ, number(refused.call), 0, 3),
        statement(LOAD, argument(0)),
        // With one of the bits it is allowed; without any bits to look for, never.
        jump(libc::BPF_JSET, refused.without, 1, 0),
        refuse(refused.errno),
    ]
}

fn install(mut program: Vec<libc::sock_filter>) {
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
