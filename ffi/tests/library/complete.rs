//! The C library has every setting and every result of the Rust interface.

/// The fields of a struct, as its source lists them.
fn fields(source: &'static str, name: &str) -> Vec<&'static str> {
    let (_, after) = source.split_once(&format!("pub struct {name} {{\n")).expect("a struct");
    let (body, _) = after.split_once("\n}").expect("its end");
    let fields = body.lines().filter_map(|line| line.strip_prefix("    pub "));
    fields.map(|field| field.split_once(':').expect("a type").0).collect()
}

/// Whether each field, and nothing else, is listed with functions that there are.
fn each_has(fields: &[&str], prefix: &str, listed: &[(&str, &str)]) {
    let names: Vec<&str> = listed.iter().map(|(field, _)| *field).collect();
    assert_eq!(fields, names);
    let symbols = crate::symbols();
    for name in listed.iter().flat_map(|(_, functions)| functions.split(' ')) {
        let name = format!("mailport_{prefix}{name}");
        assert!(symbols.iter().any(|(symbol, _)| *symbol == name), "{name}");
    }
}

#[test]
fn every_setting_has_its_setter() {
    let config = [
        ("attempt_delay", "attempt_delay_ms"),
        ("port_delay", "port_delay_ms"),
        ("patience", "patience_ms"),
        ("timeout", "timeout_ms"),
        ("greeting_wait", "greeting_wait_ms"),
        ("ask", "ask"),
        ("try_failed_last", "try_failed_last"),
        ("families", "families"),
        ("source", "source"),
        ("source_port", "source_port"),
        ("device", "device"),
        ("mark", "mark"),
    ];
    let fields = fields(include_str!("../../../src/config.rs"), "Config");
    each_has(&fields, "options_set_", &config);
    // What a dialer holds, except a resolver, which would be a callback.
    let dialer = include_str!("../../../src/driver/dialer.rs");
    let with = dialer.split("pub fn with_").skip(1).filter_map(|rest| rest.split('(').next());
    let with = with.filter(|name| !["config", "resolver"].contains(name)).collect::<Vec<_>>();
    let dialer = ["plan", "addresses", "via", "cache"].map(|name| (name, name));
    each_has(&with, "options_set_", &dialer);
    // The other parts of a plan.
    assert!(crate::symbols().iter().any(|(name, _)| *name == "mailport_options_set_sequential"));
}

#[test]
fn every_field_of_the_report_has_its_getter() {
    let source = include_str!("../../../src/report/mod.rs");
    let report = [
        ("host", "host"),
        ("via", "via"),
        ("attempts", "attempt_count"),
        ("lookup", "lookup_count"),
        ("end", "process winner"),
        ("elapsed", "elapsed_us"),
    ];
    each_has(&fields(source, "Report"), "dial_", &report);
    let attempt = [
        ("service", "port tls service_family"),
        ("family", "family"),
        ("address", "address port"),
        ("stage", "stage"),
        ("started", "started_us"),
        ("connected", "connected_us"),
        ("ended", "ended_us"),
        ("outcome", "outcome"),
        ("errno", "errno"),
        ("icmp", "icmp_version icmp_type icmp_code icmp_sender icmp_message"),
        ("via_error", "via_error via_error_code via_error_message"),
        ("note", "note"),
        ("greeting", "greeting"),
        ("syns", "syns"),
        ("reason", "reason reason_service reason_message"),
    ];
    each_has(&fields(source, "Attempt"), "dial_attempt_", &attempt);
    let lookup =
        [("hedged", "hedged"), ("ended", "ended_us"), ("result", "addresses error message")];
    each_has(&fields(source, "Lookup"), "dial_lookup_", &lookup);
}
