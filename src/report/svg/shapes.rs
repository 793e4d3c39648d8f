//! Bars, signs and letters.

use ::svg::node::element::{Circle, Element, Line, Path, Rectangle, Text};

use super::columns::Columns;
use super::panel::{Bar, Mark};

/// Of a bar: its height, and the least width that can be seen.
pub(super) const BAR: f64 = 10.0;
const HAIR: f64 = 2.0;

/// The shapes of a bar around the height `y`.
pub(super) fn bar(row: &Bar, columns: &Columns, y: f64) -> Vec<Element> {
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

pub(super) fn dot(x: f64, y: f64) -> Element {
    Circle::new().set("class", "dot").set("cx", r(x)).set("cy", r(y)).set("r", 5.5).into()
}

/// On a background, so that it is visible on the line of the decision.
pub(super) fn cross(x: f64, y: f64) -> Vec<Element> {
    let (left, right, top, bottom) = (r(x - 4.5), r(x + 4.5), r(y - 4.5), r(y + 4.5));
    let path = format!("M{left} {top} {right} {bottom}M{left} {bottom} {right} {top}");
    ["halo", "mark"].map(|class| Path::new().set("class", class).set("d", &*path).into()).into()
}

/// A bracket, which is seen on the line of the decision too.
pub(super) fn cap(x: f64, y: f64) -> Element {
    let path = format!("M{left} {}H{}V{}H{left}", r(y - 8.0), r(x), r(y + 8.0), left = r(x - 4.0));
    Path::new().set("class", "mark").set("d", path).into()
}

/// A SYN that was sent again: above its bar, so that it is not taken for an end.
pub(super) fn tick(x: f64, y: f64) -> Element {
    let path = format!("M{} {}h6l-3 5z", r(x - 3.0), r(y - 11.0));
    Path::new().set("class", "flag syn").set("d", path).into()
}

pub(super) fn text(x: f64, y: f64, class: &str, words: &str) -> Text {
    let text = Text::new(words).set("x", r(x)).set("y", r(y));
    match class.trim() {
        "" => text,
        class => text.set("class", class),
    }
}

pub(super) fn rectangle(x: f64, y: f64, width: f64, height: f64) -> Rectangle {
    Rectangle::new().set("x", r(x)).set("y", r(y)).set("width", r(width)).set("height", r(height))
}

pub(super) fn line(x1: f64, y1: f64, x2: f64, y2: f64) -> Line {
    Line::new().set("x1", r(x1)).set("y1", r(y1)).set("x2", r(x2)).set("y2", r(y2))
}

/// To a tenth: finer is not seen.
pub(super) fn r(length: f64) -> f64 {
    (length * 10.0).round() / 10.0
}
