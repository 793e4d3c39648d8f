//! What `make demo` shows is what happened.

use std::sync::LazyLock;

#[path = "../src/main.rs"]
#[expect(dead_code, reason = "its main is not called here")]
mod demo;

static SCREEN: LazyLock<String> = LazyLock::new(|| {
    let mut screen = Vec::new();
    demo::show(&mut screen).expect("every mail arrives");
    String::from_utf8(screen).expect("what is shown is text")
});

#[test]
fn each_mail_arrives_at_the_port_that_its_network_allows() {
    let scenes: Vec<&str> = SCREEN.split("\n\n").collect();
    assert_eq!(scenes.len(), 3, "{}", *SCREEN);
    let expected = [
        (None, "from the office"),
        (Some(" is refused; "), "from a train"),
        (Some(" is silent"), "from a hotel"),
    ];
    for (scene, (reported, subject)) in scenes.iter().zip(expected) {
        let title = scene.lines().next().unwrap();
        let numbers = title.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty());
        let [_, submission, "587", smtp, "25"] = numbers.collect::<Vec<_>>()[..] else {
            panic!("{title}");
        };
        let won = if reported.is_none() { submission } else { smtp };
        let reported = reported.map(|words| format!("{submission}{words}"));
        assert!(reported.is_none_or(|reported| scene.contains(&reported)), "{scene}");
        assert!(scene.contains(&format!("connected to {won} over ")), "{scene}");
        let received = format!("server on port {won} received the mail \"{subject}\"");
        assert!(scene.contains(&received), "{scene}");
    }
}

#[test]
fn it_fits_on_one_screen() {
    assert!(SCREEN.lines().count() <= 24, "{}", *SCREEN);
    assert!(SCREEN.lines().all(|line| line.chars().count() <= 80), "{}", *SCREEN);
}
