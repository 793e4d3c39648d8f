//! A report drawn as a picture: a waterfall in SVG, one bar an attempt, all on one scale of time.

use std::time::Duration;

use ::svg::Node;
use ::svg::node::element::{
    Circle, Description, Element, Group, Line, Path, Rectangle, SVG, Style, Text, Title,
};

use super::timeline::{columns, cut, notes, shorten, worth_seeing};
use super::{Attempt, End, Lookup, LookupError, Millis, Report, host_of};
use crate::outcome::Outcome;
use crate::plan::{Family, Service};

/// One dial in a picture, or whatever else has attempts: what [`draw`] draws.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Panel {
    /// The sentence above it.
    pub title: String,
    /// The host, shown where an attempt has no address.
    pub host: String,
    /// Name look-ups; those that were quick are left out.
    pub lookups: Vec<Lookup>,
    /// The attempts, in the order in which they were started. The bars of a service stand together.
    pub attempts: Vec<Attempt>,
    /// What came of them, and when.
    pub decision: Option<Decision>,
}

/// The moment that a [`Panel`] marks from top to bottom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// When, from the beginning of the dial.
    pub at: Duration,
    /// What was decided, in a few words: `connected to 25`.
    pub words: String,
    /// The attempt that won, as an index of [`Panel::attempts`]; `None` where nothing did.
    pub winner: Option<usize>,
}

impl From<&Report> for Panel {
    fn from(report: &Report) -> Panel {
        let (words, winner) = match report.end {
            End::Connected(index) => {
                let port = report.winner().map(|winner| winner.service.port());
                (port.map_or_else(String::new, |port| format!("connected to {port}")), Some(index))
            }
            End::Exhausted => ("nothing is left to try".into(), None),
            End::Deadline => ("deadline".into(), None),
            End::Unresolved => ("no address".into(), None),
            End::OwnTrouble => ("this machine lacks something".into(), None),
            End::Cancelled => ("cancelled".into(), None),
        };
        Panel {
            title: report.summary(),
            host: report.host.clone(),
            lookups: report.lookups.clone(),
            attempts: report.attempts.clone(),
            decision: Some(Decision { at: report.elapsed, words, winner }),
        }
    }
}

impl Report {
    /// The dial as a picture in SVG, a whole file: the sentence, a scale of time, and one bar for
    /// each attempt and each look-up that took time worth seeing, with its outcome. It is legible on
    /// light and on dark ground, needs no font, and equal reports give equal pictures.
    pub fn to_svg(&self) -> String {
        draw(&[Panel::from(self)])
    }
}

/// Draws panels under one another, on one scale of time, as an SVG file.
pub fn draw(panels: &[Panel]) -> String {
    let total = panels.iter().map(Panel::total).fold(Duration::from_nanos(1), Duration::max);
    let bands: Vec<Vec<Band>> = panels.iter().map(|panel| panel.bands(total)).collect();
    let columns = Columns::of(&bands, total);
    let mut page = Page { columns, body: Group::new(), y: MARGIN };
    for (panel, bands) in panels.iter().zip(&bands) {
        page.panel(panel, bands);
    }
    let rows: Vec<&Row> = bands.iter().flatten().flat_map(|band| &band.rows).collect();
    page.legend(&rows);
    page.document(panels, &rows)
}

const MARGIN: f64 = 20.0;
/// Room for the characters of each class of text. Generous: which font is used is the reader's.
const TEXT: f64 = 7.4;
const SMALL: f64 = 6.5;
const LARGE: f64 = 9.0;
/// The narrowest that a picture and the part of it with the bars may be.
const WIDTH: f64 = 900.0;
const PLOT: f64 = 420.0;
/// The longest address shown in full, and the longest line of a note.
const PLACE: usize = 39;
const NOTE: usize = 34;
/// Of a row: its height with one line of text, and what each further line adds.
const ROW: f64 = 24.0;
const LINE: f64 = 15.0;
/// Of a bar: its height, and the least width that can be seen.
const BAR: f64 = 10.0;
const HAIR: f64 = 2.0;
/// The most parts that the scale is divided into.
const TICKS: u32 = 8;

/// When Linux sends the SYN again, in seconds from the first (RFC 6298 section 2: one second, then
/// doubling). The first schedule has the linear start of `tcp_syn_linear_timeouts`, since Linux 6.5.
const SCHEDULES: [&[u64]; 2] = [&[1, 2, 3, 4, 5, 7, 11, 19, 35, 67], &[1, 3, 7, 15, 31, 63]];

const STYLE: &str = "
text { font: 12px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #1f2328 }
.title { font-size: 14px; font-weight: 600 }
.port { font-size: 15px; font-weight: 700 }
.small { font-size: 11px }
.soft { fill: #59636e }
.place { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace }
.won { font-weight: 700 }
.end { text-anchor: end }
.middle { text-anchor: middle }
.paper { fill: #ffffff }
.band { fill: #f1f4f7 }
.grid { stroke: #d3dae1 }
.ipv6 { fill: #0b4f8a; stroke: #0b4f8a }
.ipv4 { fill: #d98200; stroke: #d98200 }
.held { fill: #f1f4f7; stroke-width: 1.5 }
.dot { fill: #1f2328; stroke: #f1f4f7; stroke-width: 1.5 }
.halo { fill: none; stroke: #f1f4f7; stroke-width: 4; stroke-linecap: round }
.mark { fill: none; stroke: #1f2328; stroke-width: 2; stroke-linecap: round }
.failed { stroke-dasharray: 4 3; stroke-linecap: butt; stroke-width: 1.5 }
.flag { fill: #1f2328 }
.on-flag { fill: #ffffff; font-weight: 600 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.soft { fill: #9aa5b1 }
.paper { fill: #0d1117 }
.band { fill: #171d26 }
.grid { stroke: #2f3843 }
.ipv6 { fill: #3f87d6; stroke: #3f87d6 }
.ipv4 { fill: #ffc663; stroke: #ffc663 }
.held { fill: #171d26 }
.dot { fill: #e6edf3; stroke: #171d26 }
.halo { stroke: #171d26 }
.mark { stroke: #e6edf3 }
.flag { fill: #e6edf3 }
.on-flag { fill: #0d1117 }
}
";

/// What stands together: the attempts of a service, or the look-ups.
struct Band {
    service: Option<Service>,
    rows: Vec<Row>,
}

impl Band {
    /// What it is called, in two lines, each with its class.
    fn name(&self) -> [(&'static str, String); 2] {
        match self.service {
            Some(service) => {
                [("port", service.port().to_string()), ("small soft", service.tls().to_string())]
            }
            None => [("", "name".to_owned()), ("small soft", "look-ups".to_owned())],
        }
    }

    fn height(&self) -> f64 {
        let rows: f64 = self.rows.iter().map(Row::height).sum();
        // The two lines of its name.
        rows.max(ROW + LINE)
    }
}

/// One bar, and what is written beside it.
struct Row {
    family: Family,
    place: String,
    began: Duration,
    connected: Option<Duration>,
    ended: Duration,
    mark: Mark,
    /// When the SYN was sent again.
    syns: Vec<Duration>,
    note: Vec<String>,
    /// Everything, in one sentence.
    story: String,
    won: bool,
    lookup: bool,
}

/// How a bar ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Connected,
    Failed,
    /// Given up by us, without an answer.
    Silent,
}

impl Panel {
    fn total(&self) -> Duration {
        let decided = self.decision.as_ref().map(|decision| decision.at);
        let looked_up = self.lookups.iter().filter_map(|lookup| lookup.ended);
        let ends = self.attempts.iter().map(|attempt| attempt.ended);
        ends.chain(looked_up).chain(decided).max().unwrap_or_default()
    }

    fn bands(&self, total: Duration) -> Vec<Band> {
        let own_total = self.total();
        let lookups = self.lookups.iter().filter(|lookup| worth_seeing(lookup, own_total));
        let rows: Vec<Row> = lookups.map(|lookup| Row::of_lookup(lookup, own_total)).collect();
        let mut bands = Vec::new();
        if !rows.is_empty() {
            bands.push(Band { service: None, rows });
        }
        let winner = self.decision.as_ref().and_then(|decision| decision.winner);
        for (index, attempt) in self.attempts.iter().enumerate() {
            let service = Some(attempt.service);
            let row = Row::of_attempt(attempt, &self.host, winner == Some(index), total);
            match bands.iter_mut().find(|band| band.service == service) {
                Some(band) => band.rows.push(row),
                None => bands.push(Band { service, rows: vec![row] }),
            }
        }
        bands
    }
}

impl Row {
    fn of_attempt(attempt: &Attempt, host: &str, won: bool, total: Duration) -> Row {
        let Attempt { service, family, started, outcome, .. } = *attempt;
        let ended = attempt.ended.clamp(started, total.max(started));
        let connected = match attempt.connected {
            None if outcome == Outcome::Connected => Some(ended),
            connected => connected.map(|at| at.clamp(started, ended)),
        };
        let address = attempt.address.map_or_else(|| host.to_owned(), host_of);
        let mark = match outcome {
            Outcome::Connected => Mark::Connected,
            Outcome::Timeout | Outcome::Cancelled => Mark::Silent,
            _ => Mark::Failed,
        };
        let note = clean(&notes(attempt).1);
        let silent = connected.unwrap_or(ended) - started;
        let retransmissions = attempt.syns.map(|syns| retransmissions(syns, silent));
        let place = clean(&address);
        let story = format!(
            "{service} at {place}, started at {} ({}): {note}, after {}",
            Millis(started),
            attempt.reason,
            Millis(silent)
        );
        Row {
            family,
            place: shorten(&place, PLACE),
            began: started,
            connected,
            ended,
            mark,
            syns: retransmissions.into_iter().flatten().map(|after| started + after).collect(),
            note: wrap(&note, NOTE),
            story,
            won,
            lookup: false,
        }
    }

    fn of_lookup(lookup: &Lookup, total: Duration) -> Row {
        let note = match &lookup.result {
            Ok(1) => "1 address".to_owned(),
            Ok(count) => format!("{count} addresses"),
            Err(LookupError::NotFound) => "no address".to_owned(),
            Err(error) => clean(&error.to_string()),
        };
        let (mark, records) = match (&lookup.result, lookup.family) {
            (Ok(_), Family::Ipv6) => (Mark::Connected, "AAAA"),
            (Ok(_), Family::Ipv4) => (Mark::Connected, "A"),
            (Err(_), family) => {
                let mark = if lookup.ended.is_some() { Mark::Failed } else { Mark::Silent };
                (mark, if family == Family::Ipv6 { "AAAA" } else { "A" })
            }
        };
        let ended = lookup.ended.unwrap_or(total);
        Row {
            family: lookup.family,
            place: format!("{records} records"),
            began: Duration::ZERO,
            connected: None,
            ended,
            mark,
            syns: Vec::new(),
            story: format!("look-up of {records} records: {note}, after {}", Millis(ended)),
            note: wrap(&note, NOTE),
            won: false,
            lookup: true,
        }
    }

    /// How long it took to connect or, where it did not, to end.
    fn took(&self) -> String {
        let took = self.connected.unwrap_or(self.ended) - self.began;
        if took < Duration::from_millis(1) {
            return format!("{} µs", took.as_micros());
        }
        Millis(took).to_string()
    }

    fn held(&self) -> Option<Duration> {
        self.connected.filter(|&connected| connected < self.ended)
    }

    fn height(&self) -> f64 {
        ROW + LINE * float(self.note.len().saturating_sub(1))
    }

    fn color(&self) -> &'static str {
        self.family.name()
    }
}

/// Where the columns stand.
struct Columns {
    family: f64,
    place: f64,
    /// From and to where the bars reach.
    plot: (f64, f64),
    /// Its right edge.
    took: f64,
    note: f64,
    width: f64,
    total: Duration,
}

impl Columns {
    fn of(bands: &[Vec<Band>], total: Duration) -> Columns {
        let widest = |widths: &mut dyn Iterator<Item = f64>| widths.fold(0.0, f64::max);
        let rows = || bands.iter().flatten().flat_map(|band| &band.rows);
        let of_name = |band: &Band| {
            let [(_, name), (_, kind)] = band.name();
            width(&name, 1.1 * LARGE).max(width(&kind, SMALL))
        };
        let family = MARGIN + 12.0 + widest(&mut bands.iter().flatten().map(of_name)) + 14.0;
        let place = family + width("IPv6", TEXT) + 12.0;
        let places = widest(&mut rows().map(|row| width(&row.place, TEXT)));
        let took = widest(&mut rows().map(|row| width(&row.took(), TEXT)));
        let notes = widest(&mut rows().flat_map(|r| &r.note).map(|line| width(line, TEXT)));
        let left = place + places + 16.0;
        let right = 20.0 + took + 14.0 + notes + 12.0 + MARGIN;
        let plot = (WIDTH - left - right).max(PLOT).round();
        Columns {
            family,
            place,
            plot: (left, left + plot),
            took: left + plot + 20.0 + took,
            note: left + plot + 20.0 + took + 14.0,
            width: (left + plot + right).ceil(),
            total,
        }
    }

    fn x(&self, time: Duration) -> f64 {
        let part = time.as_secs_f64() / self.total.as_secs_f64();
        self.plot.0 + (self.plot.1 - self.plot.0) * part.min(1.0)
    }
}

/// The picture as it grows downwards.
struct Page {
    columns: Columns,
    body: Group,
    y: f64,
}

impl Page {
    fn panel(&mut self, panel: &Panel, bands: &[Band]) {
        for line in even(&clean(&panel.title), chars(self.columns.width - 2.0 * MARGIN, LARGE)) {
            self.write(MARGIN, self.y + 14.0, "title", &line);
            self.y += 20.0;
        }
        self.y += 6.0;
        if bands.is_empty() {
            self.y += 14.0;
            return;
        }
        let flag = self.y;
        self.y += if panel.decision.is_some() { 22.0 } else { 0.0 };
        let top = self.y;
        let bottom = top + bands.iter().map(|band| band.height() + 4.0).sum::<f64>() - 4.0;
        for band in bands {
            let plate = rectangle(MARGIN, self.y, self.columns.width - 2.0 * MARGIN, band.height());
            self.body.append(plate.set("class", "band").set("rx", 4));
            self.y += band.height() + 4.0;
        }
        self.scale(top, bottom);
        if let Some(decision) = &panel.decision {
            self.decision(decision, flag, bottom);
        }
        self.y = top;
        for band in bands {
            self.band(band);
        }
        self.y = bottom + 44.0;
    }

    /// The marks of the scale: lines through the bands, and what they stand for.
    fn scale(&mut self, top: f64, bottom: f64) {
        for (time, label) in ticks(self.columns.total) {
            let x = self.columns.x(time);
            self.body.append(line(x, top, x, bottom).set("class", "grid"));
            self.write(x, bottom + 15.0, "small soft middle", &label);
        }
    }

    fn decision(&mut self, decision: &Decision, flag: f64, bottom: f64) {
        let x = self.columns.x(decision.at);
        let words = cut(&clean(&decision.words), NOTE);
        let wide = width(&words, TEXT) + 14.0;
        let left = (x - wide / 2.0).clamp(self.columns.plot.0, self.columns.plot.1 + 7.0 - wide);
        let (dashed, text) =
            if decision.winner.is_some() { ("", "on-flag") } else { (" failed", "") };
        let plate = rectangle(left, flag, wide, 19.0).set("rx", 4);
        let plate = match decision.winner {
            Some(_) => plate.set("class", "flag"),
            None => plate.set("class", "mark failed"),
        };
        self.body.append(line(x, flag + 19.0, x, bottom).set("class", format!("mark{dashed}")));
        self.body.append(plate);
        self.write(left + wide / 2.0, flag + 13.5, &format!("middle {text}"), &words);
    }

    fn band(&mut self, band: &Band) {
        let top = self.y;
        for (index, (class, words)) in band.name().into_iter().enumerate() {
            self.write(MARGIN + 12.0, top + 17.0 + LINE * float(index), class, &words);
        }
        for row in &band.rows {
            self.row(row);
        }
        self.y = top + band.height() + 4.0;
    }

    fn row(&mut self, row: &Row) {
        let y = self.y + ROW / 2.0;
        let columns = &self.columns;
        let whole = rectangle(MARGIN, self.y, columns.width - 2.0 * MARGIN, row.height())
            .set("fill", "none")
            .set("pointer-events", "all");
        let weight = if row.won { " won" } else { "" };
        let base = y + 4.0;
        let mut group = Group::new()
            .set("class", "row")
            .add(Title::new(&row.story))
            .add(whole)
            .add(text(columns.family, base, "", &row.family.to_string()))
            .add(text(columns.place, base, "place", &row.place))
            .add(text(columns.took, base, "soft end", &row.took()));
        for (index, line) in row.note.iter().enumerate() {
            let class = if index == 0 { weight } else { " soft" };
            let y = base + LINE * float(index);
            group.append(text(columns.note, y, format!("note{class}").as_str(), line));
        }
        for shape in bar(row, columns, y) {
            group.append(shape);
        }
        self.body.append(group);
        self.y += row.height();
    }

    /// What the signs mean; of each only what is there.
    fn legend(&mut self, rows: &[&Row]) {
        let any = |is: &dyn Fn(&Row) -> bool| rows.iter().any(|row| is(row));
        let swatch = |family: Family| {
            vec![
                rectangle(0.0, -BAR / 2.0, 18.0, BAR)
                    .set("rx", 2)
                    .set("class", family.name())
                    .into(),
            ]
        };
        let attempt_with = |mark| any(&|row: &Row| !row.lookup && row.mark == mark);
        let mut signs: Vec<(Vec<Element>, &str)> = Vec::new();
        for family in Family::ALL {
            if any(&|row| row.family == family) {
                let name = if family == Family::Ipv6 { "IPv6" } else { "IPv4" };
                signs.push((swatch(family), name));
            }
        }
        if attempt_with(Mark::Connected) {
            signs.push((vec![dot(9.0, 0.0)], "connected"));
        }
        if any(&|row| row.held().is_some()) {
            let hollow = rectangle(0.0, -3.0, 18.0, 6.0).set("class", "mark");
            signs.push((
                vec![hollow.set("stroke-width", 1.5).into()],
                "held back by an earlier port",
            ));
        }
        if attempt_with(Mark::Failed) {
            signs.push((cross(9.0, 0.0), "refused or failed"));
        }
        if attempt_with(Mark::Silent) {
            signs.push((vec![cap(11.0, 0.0)], "given up"));
        }
        if any(&|row| !row.syns.is_empty()) {
            signs.push((vec![tick(9.0, 8.0)], "SYN sent again"));
        }
        let mut x = MARGIN;
        let y = self.y + 4.0;
        for (shapes, words) in signs {
            let mut sign = Group::new().set("transform", format!("translate({} {})", r(x), r(y)));
            for shape in shapes {
                sign.append(shape);
            }
            self.body.append(sign);
            self.write(x + 24.0, y + 4.0, "small soft", words);
            x += 24.0 + width(words, SMALL) + 14.0;
        }
        self.y = y + 12.0;
    }

    fn write(&mut self, x: f64, y: f64, class: &str, words: &str) {
        self.body.append(text(x, y, class, words));
    }

    fn document(self, panels: &[Panel], rows: &[&Row]) -> String {
        let (width, height) = (self.columns.width, (self.y + MARGIN / 2.0).ceil());
        let title = match panels {
            [one] => clean(&one.title),
            _ => format!("{} dials", panels.len()),
        };
        let stories: Vec<&str> = rows.iter().map(|row| &*row.story).collect();
        let document = SVG::new()
            .set("role", "img")
            .set("width", width)
            .set("height", height)
            .set("viewBox", (0, 0, r(width), r(height)))
            .add(Title::new(title))
            .add(Description::new().add(::svg::node::Text::new(stories.join(".\n"))))
            .add(Style::new(STYLE))
            .add(rectangle(0.0, 0.0, width, height).set("class", "paper"))
            .add(self.body);
        format!("{document}\n")
    }
}

/// The shapes of a bar around the height `y`.
fn bar(row: &Row, columns: &Columns, y: f64) -> Vec<Element> {
    let mut shapes = Vec::new();
    let end = columns.x(row.ended).max(columns.plot.0 + HAIR);
    let begin = columns.x(row.began).min(end - HAIR);
    let reached = row.connected.map_or(end, |at| columns.x(at).clamp(begin + HAIR, end));
    let height = if row.lookup { BAR / 2.0 } else { BAR };
    if row.held().is_some() {
        let held = rectangle(reached, y - 3.0, end - reached, 6.0);
        shapes.push(held.set("class", format!("{} held", row.color())).into());
    }
    let solid = rectangle(begin, y - height / 2.0, reached - begin, height);
    shapes.push(solid.set("class", format!("{} bar", row.color())).set("stroke", "none").into());
    shapes.extend(row.syns.iter().map(|&at| tick(columns.x(at), y)));
    if row.lookup {
        return shapes;
    }
    if row.connected.is_some() {
        shapes.push(dot(reached, y));
    }
    match row.mark {
        Mark::Failed => shapes.extend(cross(end + 6.0, y)),
        Mark::Silent => shapes.push(cap(end, y)),
        Mark::Connected => {}
    }
    shapes
}

fn dot(x: f64, y: f64) -> Element {
    Circle::new().set("class", "dot").set("cx", r(x)).set("cy", r(y)).set("r", 5.5).into()
}

/// On ground of its own, so that it is seen on the line of the decision.
fn cross(x: f64, y: f64) -> Vec<Element> {
    let (left, right, top, bottom) = (r(x - 4.5), r(x + 4.5), r(y - 4.5), r(y + 4.5));
    let path = format!("M{left} {top} {right} {bottom}M{left} {bottom} {right} {top}");
    ["halo", "mark"].map(|class| Path::new().set("class", class).set("d", &*path).into()).into()
}

/// A bracket, which is seen on the line of the decision too.
fn cap(x: f64, y: f64) -> Element {
    let path = format!("M{left} {}H{}V{}H{left}", r(y - 8.0), r(x), r(y + 8.0), left = r(x - 4.0));
    Path::new().set("class", "mark").set("d", path).into()
}

/// A SYN that was sent again: above its bar, so that it is not taken for an end.
fn tick(x: f64, y: f64) -> Element {
    let path = format!("M{} {}h6l-3 5z", r(x - 3.0), r(y - 11.0));
    Path::new().set("class", "flag syn").set("d", path).into()
}

fn text(x: f64, y: f64, class: &str, words: &str) -> Text {
    let text = Text::new(words).set("x", r(x)).set("y", r(y));
    match class.trim() {
        "" => text,
        class => text.set("class", class),
    }
}

fn rectangle(x: f64, y: f64, width: f64, height: f64) -> Rectangle {
    Rectangle::new().set("x", r(x)).set("y", r(y)).set("width", r(width)).set("height", r(height))
}

fn line(x1: f64, y1: f64, x2: f64, y2: f64) -> Line {
    Line::new().set("x1", r(x1)).set("y1", r(y1)).set("x2", r(x2)).set("y2", r(y2))
}

/// To a tenth: finer is not seen.
fn r(length: f64) -> f64 {
    (length * 10.0).round() / 10.0
}

fn width(text: &str, of_character: f64) -> f64 {
    float(columns(text)) * of_character
}

fn float(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}

/// How many characters there is room for.
fn chars(room: f64, of_character: f64) -> usize {
    (1..1000).take_while(|&count| float(count) * of_character <= room).count().max(1)
}

/// A text that XML can hold, on one line, written in the order in which it is read.
fn clean(text: &str) -> String {
    let bad = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
            || matches!(u32::from(c) & 0xffff, 0xfffe | 0xffff)
    };
    text.replace(bad, "\u{fffd}")
}

/// The text in lines of at most `limit` columns; a longer word keeps a line of its own, up to the
/// length of an address.
fn wrap(text: &str, limit: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word = cut(word, limit.max(PLACE + 2));
        match lines.last_mut() {
            Some(line) if columns(line) + 1 + columns(&word) <= limit => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

/// The same number of lines, and the lines as even as they can be.
fn even(text: &str, limit: usize) -> Vec<String> {
    let lines = wrap(text, limit);
    let narrower = (1..limit).map(|limit| wrap(text, limit));
    narrower.into_iter().find(|even| even.len() == lines.len()).unwrap_or(lines)
}

/// Round times, at most [`TICKS`] after 0, with their labels in one unit.
fn ticks(total: Duration) -> Vec<(Duration, String)> {
    let total = total.as_nanos();
    let least = total.div_ceil(TICKS.into()).max(1);
    let mut power = 1;
    while power * 10 <= least {
        power *= 10;
    }
    let step = [1, 2, 5, 10].map(|digit| digit * power).into_iter().find(|&s| s >= least);
    let step = step.unwrap_or(least);
    let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"), (1, "ns")];
    let (unit, name) = units.into_iter().find(|&(unit, _)| total >= unit).unwrap_or((1, "ns"));
    let label = |at: u128| {
        let (whole, rest) = (at / unit, at % unit);
        // A step is 1, 2 or 5 of a power of ten, so few decimals say it all.
        let digits = unit.to_string().len() - 1;
        let rest = format!("{rest:0digits$}");
        match rest.trim_end_matches('0') {
            "" => format!("{whole} {name}"),
            rest => format!("{whole}.{rest} {name}"),
        }
    };
    let nanos = |at| Duration::from_nanos(u64::try_from(at).unwrap_or(u64::MAX));
    let mut ticks = vec![(Duration::ZERO, "0".to_owned())];
    ticks.extend((1..=total / step).map(|n| (nanos(n * step), label(n * step))));
    ticks
}

/// When the SYN was sent again, from its start, in an attempt that was `silent` for so long.
fn retransmissions(syns: u32, silent: Duration) -> impl Iterator<Item = Duration> {
    let again = usize::try_from(syns).unwrap_or(usize::MAX).saturating_sub(1);
    let within = move |at: &&u64| Duration::from_secs(**at) <= silent;
    let fits = |schedule: &&&[u64]| schedule.iter().filter(within).count() == again;
    // The kernel tells how many there were, and that tells the schedule.
    let schedule = SCHEDULES.iter().find(fits).unwrap_or(&SCHEDULES[0]);
    schedule.iter().filter(within).take(again).map(|&at| Duration::from_secs(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(syns: u32, silent: f64) -> Vec<u64> {
        retransmissions(syns, Duration::from_secs_f64(silent)).map(|at| at.as_secs()).collect()
    }

    #[test]
    fn the_count_of_syns_tells_the_schedule() {
        assert_eq!(again(1, 0.9), []);
        assert_eq!(again(2, 1.3), [1]);
        assert_eq!(again(9, 30.0), [1, 2, 3, 4, 5, 7, 11, 19]);
        assert_eq!(again(5, 30.0), [1, 3, 7, 15], "before Linux 6.5");
        assert_eq!(again(2, 3.0), [1], "the third is about to go");
        assert_eq!(again(0, 30.0), []);
        assert_eq!(again(u32::MAX, 2.5), [1, 2]);
    }

    #[test]
    fn ticks_are_few_and_round() {
        let labels = |total: Duration| -> Vec<String> {
            ticks(total).into_iter().map(|(_, label)| label).collect()
        };
        assert_eq!(labels(Duration::from_nanos(1)), ["0", "1 ns"]);
        assert_eq!(
            labels(Duration::from_micros(4)),
            ["0", "0.5 µs", "1 µs", "1.5 µs", "2 µs", "2.5 µs", "3 µs", "3.5 µs", "4 µs"]
        );
        assert_eq!(labels(Duration::from_millis(999)).last().unwrap(), "800 ms");
        assert_eq!(labels(Duration::from_secs(86_400)).last().unwrap(), "80000 s");
        for total in [Duration::ZERO, Duration::from_millis(1), Duration::MAX] {
            assert!(ticks(total).len() <= 9, "{total:?}");
        }
    }

    #[test]
    fn lines_are_broken_between_words_and_evenly() {
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrap(" ", 7), Vec::<String>::new());
        assert_eq!(even("aa bb cc dd", 8), ["aa bb", "cc dd"]);
        assert!(wrap(&"x".repeat(99), 7).iter().all(|line| columns(line) <= PLACE + 2));
    }

    #[test]
    fn a_text_loses_what_xml_has_no_room_for() {
        assert_eq!(clean("a\0b\u{ffff}c\u{202e}d\te"), "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}e");
        assert_eq!(clean("bücher <&> \u{1f4ec}"), "bücher <&> \u{1f4ec}");
    }
}
