//! `mailport defaults`.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, CommandFactory, ValueEnum};
use comfy_table::{ColumnConstraint, ContentArrangement, LineStyle, Table, presets};
use mailport::{Cleartext, Config, Families, GreetingWait, Patience, Plan, Prober};
use mailport_relay::{Limits, Listener, all_ports};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{connect, values};

/// Prints every option of a dial with its default, its unit and the source of the default
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print one JSON array and nothing else [default: off]
    ///
    /// One object for each option, with the keys option, value, unit, rule (of an automatic value),
    /// source and meaning. Times are in milliseconds; null is no value.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let settings = settings();
    let text = if args.json {
        let objects: Vec<DefaultObject> = settings.iter().map(Setting::object).collect();
        serde_json::to_string(&objects).expect("every key of a setting is a string")
    } else {
        table(&settings, connect::width_of(std::io::stdout()))
    };
    crate::written(writeln!(anstream::stdout(), "{text}"))
}

/// One option and its default.
struct Setting {
    option: String,
    default: Default,
    source: Option<&'static str>,
    meaning: String,
}

/// The default of an option.
enum Default {
    Time(Duration),
    Word(String),
    /// Determined during the dial, by this rule.
    Automatic(String),
    /// A switch that is off, and the word for that.
    Off(&'static str),
    On,
    /// No value, and what happens then.
    None(&'static str),
}

#[derive(Serialize)]
struct DefaultObject<'a> {
    option: &'a str,
    value: Value,
    unit: Option<&'static str>,
    rule: Option<&'a str>,
    source: Option<&'static str>,
    meaning: &'a str,
}

/// Every option of `mailport connect`, in the order of its help; then those of `mailport probe`
/// that are new or have another default, and the limits of `mailport relay`.
fn settings() -> Vec<Setting> {
    let (connect, probe) = (options("connect"), options("probe"));
    let own = |arg: &&Arg| {
        let same = connect.iter().find(|other| other.get_id() == arg.get_id());
        same.is_none_or(|other| other.get_default_values() != arg.get_default_values())
    };
    let of_probe = probe.iter().filter(own).map(setting_of_probe);
    let relay = options("relay");
    let of_relay = relay.iter().filter_map(setting_of_relay);
    connect.iter().map(setting).chain(of_probe).chain(of_relay).collect()
}

fn options(command: &str) -> Vec<Arg> {
    let mut root = crate::Cli::command();
    root.build();
    let command = root.find_subcommand(command).into_iter();
    let options = command.flat_map(clap::Command::get_arguments);
    options.filter(|arg| !arg.is_positional() && arg.get_id() != "help").cloned().collect()
}

fn setting_of_probe(arg: &Arg) -> Setting {
    let of_dial = setting(arg);
    let default = match arg.get_id().as_str() {
        "attempt_timeout" => Default::Time(Prober::ATTEMPT_TIMEOUT),
        "tls" => Default::Off("off"),
        _ => Default::None("none"),
    };
    Setting { option: format!("probe {}", of_dial.option), default, ..of_dial }
}

/// The other options of a relay say where it listens, or are those of every dial.
fn setting_of_relay(arg: &Arg) -> Option<Setting> {
    let limits = Limits::default();
    let ports = || all_ports().iter().map(u16::to_string).collect::<Vec<_>>().join(",");
    let (default, source) = match arg.get_id().as_str() {
        "ports" => (Default::Word(ports()), DESIGN),
        "allow" => (Default::None("none"), DESIGN),
        "max_sessions" => (Default::Word(limits.max_sessions.to_string()), DESIGN),
        "max_sessions_per_client" => {
            (Default::Word(limits.max_sessions_per_client.to_string()), DESIGN)
        }
        "idle_timeout" => (Default::Time(Listener::IDLE_TIMEOUT), "RFC 5321 section 4.5.3.2"),
        "mailbox_idle_timeout" => (Default::Time(Listener::MAILBOX_IDLE_TIMEOUT), "RFC 2177"),
        "drain_timeout" => (Default::Time(limits.drain_timeout), DESIGN),
        _ => return None,
    };
    let of_dial = setting(arg);
    let option = format!("relay {}", of_dial.option);
    Some(Setting { option, default, source: Some(source), ..of_dial })
}

fn setting(arg: &Arg) -> Setting {
    let config = Config::default();
    let switch = |on, off| if on { Default::On } else { Default::Off(off) };
    let (default, source) = match arg.get_id().as_str() {
        "plan" => (Default::Word(Plan::default().to_string()), Some("RFC 6409 section 3.1")),
        "port" => (Default::None("none, --plan counts"), Some(DESIGN)),
        "allow_cleartext" => (
            switch(Cleartext::default() == Cleartext::Allow, "refused"),
            Some("RFC 8314 section 3"),
        ),
        "sequential" => (switch(Plan::default().is_sequential(), "off"), Some("design.md, rule 9")),
        "try_failed_last" => (switch(config.try_failed_last, "off"), Some(DESIGN)),
        "family" => (Default::Word(word(config.families)), Some("RFC 6724 section 6")),
        "attempt_delay" => (Default::Time(config.attempt_delay), Some("RFC 8305 section 5")),
        "port_delay" => (Default::Time(config.port_delay), Some("design.md, rule 4")),
        "patience" => (patience(config.patience, arg), Some("RFC 6298 section 2")),
        "timeout" => (Default::Time(config.timeout), Some(DESIGN)),
        "greeting_wait" => (greeting_wait(config.greeting_wait, arg), Some(DESIGN)),
        "via" => (Default::None("MAILPORT_VIA, or none"), Some(COMMAND)),
        "source" => (Default::None("the kernel's choice"), Some("RFC 6724 section 5")),
        "device" => (Default::None("the kernel's choice"), Some("SO_BINDTODEVICE")),
        "mark" => (Default::None("none"), Some("SO_MARK")),
        "cache" => (Default::Word(CACHE.to_owned()), Some("XDG Base Directory")),
        // The others belong to the command: what it prints.
        _ => (Default::Off("off"), Some(COMMAND)),
    };
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let meaning = help.split(" [default:").next().unwrap_or_default().to_owned();
    let option = arg.get_long().map_or_else(String::new, |long| format!("--{long}"));
    Setting { option, default, source, meaning }
}

/// The source of what no RFC defines.
const DESIGN: &str = "design.md";
/// The source of what only the command has: what it prints, and where.
const COMMAND: &str = "the command";
const AUTOMATIC: &str = "automatic";
/// The file of the cache; ~/.cache is used where the variable is not set.
const CACHE: &str = "$XDG_CACHE_HOME/mailport/cache.json";

fn patience(patience: Patience, arg: &Arg) -> Default {
    match patience {
        Patience::Automatic => Default::Automatic(rule(arg)),
        Patience::Fixed(time) => Default::Time(time),
    }
}

fn greeting_wait(greeting_wait: GreetingWait, arg: &Arg) -> Default {
    match greeting_wait {
        GreetingWait::Automatic => Default::Automatic(rule(arg)),
        GreetingWait::Off => Default::Off("off"),
        GreetingWait::For(time) => Default::Time(time),
    }
}

/// The rule of an automatic default, from its help text.
fn rule(arg: &Arg) -> String {
    let help = arg.get_long_help().map(ToString::to_string).unwrap_or_default();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let rule = help.split("The default is ").nth(1).and_then(|rule| rule.split(": ").next());
    rule.unwrap_or_default().to_owned()
}

fn word(families: Families) -> String {
    let is_it = |value: &&values::FamilyChoice| Families::from(**value) == families;
    let found = values::FamilyChoice::value_variants().iter().find(is_it);
    let value = found.and_then(ValueEnum::to_possible_value);
    value.expect("every Families has its value of --family").get_name().to_owned()
}

impl Setting {
    fn object(&self) -> DefaultObject<'_> {
        let (value, unit) = match &self.default {
            Default::Time(time) => (json!(millis(*time)), Some("ms")),
            Default::Word(word) => (json!(word), None),
            Default::Automatic(_) => (json!(AUTOMATIC), None),
            Default::Off(_) => (json!(false), None),
            Default::On => (json!(true), None),
            Default::None(_) => (Value::Null, None),
        };
        let rule = match &self.default {
            Default::Automatic(rule) => Some(&**rule),
            _ => None,
        };
        let Setting { option, source, meaning, .. } = self;
        DefaultObject { option, value, unit, rule, source: *source, meaning }
    }

    /// The default and its unit, for people.
    fn words(&self) -> (String, &'static str) {
        match &self.default {
            Default::Time(time) if time.as_secs() > 0 => (time.as_secs_f64().to_string(), "s"),
            Default::Time(time) => (millis(*time).to_string(), "ms"),
            Default::Word(word) => (word.clone(), ""),
            Default::Automatic(rule) => (format!("{AUTOMATIC}: {rule}"), ""),
            Default::Off(word) | Default::None(word) => ((*word).to_owned(), ""),
            Default::On => ("on".to_owned(), ""),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn table(settings: &[Setting], width: usize) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING.header_separator(LineStyle::new('─', '─', '─', '─')))
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(u16::try_from(width).unwrap_or(u16::MAX))
        .set_header(["option", "default", "unit", "source"]);
    for setting in settings {
        let (value, unit) = setting.words();
        let source = setting.source.unwrap_or_default();
        table.add_row([&setting.option, &value, unit, source]);
    }
    // Only the default is ever broken into lines.
    for column in [0, 2, 3] {
        if let Some(column) = table.column_mut(column) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_has_the_default_that_its_help_states() {
        for (setting, arg) in settings().iter().zip(options("connect")) {
            let name = arg.get_long().unwrap();
            assert_eq!(setting.option, format!("--{name}"));
            let stated = match arg.get_default_values() {
                [value] if arg.get_action().takes_values() => value.to_str().unwrap().to_owned(),
                _ => {
                    let help = arg.get_help().unwrap().to_string();
                    let (_, stated) = help.split_once("[default: ").expect(name);
                    stated.trim_end_matches(']').to_owned()
                }
            };
            match &setting.default {
                Default::Time(time) => assert_eq!(values::duration(&stated), Ok(*time), "{name}"),
                Default::Word(word) if name == "plan" => {
                    let plan = Plan::parse(&stated, Cleartext::Refuse).unwrap();
                    assert_eq!(&plan.to_string(), word);
                }
                Default::Automatic(_) => assert_eq!(stated, AUTOMATIC),
                Default::Word(_) | Default::Off(_) | Default::None(_) | Default::On => {
                    assert_eq!(setting.words().0, stated, "{name}");
                }
            }
        }
    }

    #[test]
    fn a_source_is_the_one_that_the_help_cites() {
        let help = |option: &str| {
            let (command, name) = option.split_once("--").unwrap();
            let command = if command.is_empty() { "connect" } else { command.trim() };
            let arg =
                options(command).into_iter().find(|arg| arg.get_long() == Some(name)).unwrap();
            let values = arg.get_possible_values();
            let of_values = values.iter().filter_map(|value| value.get_help());
            let texts = arg.get_long_help().or(arg.get_help()).into_iter().chain(of_values);
            texts.map(|text| text.to_string() + "\n").collect::<String>().replace('\n', " ")
        };
        let cited = |source: &&str| source.starts_with("RFC") || source.starts_with("SO_");
        for setting in settings().iter().filter(|setting| setting.option != "--plan") {
            if let Some(source) = setting.source.filter(cited) {
                let help = help(&setting.option);
                assert!(help.contains(source), "{help}");
            }
        }
        let patience = settings().into_iter().find(|s| s.option == "--patience").unwrap().words();
        assert!(patience.0.starts_with("automatic: until a packet"), "{patience:?}");
        assert!(patience.0.contains("1.3s, or 1s and two round trips"), "{patience:?}");
    }
}
