//! The layout: columns beside one another, panels under one another.

use ::svg::Node;
use ::svg::node::element::{Description, Element, Group, SVG, Style, Title};

use super::columns::{Columns, LARGE, MARGIN, SMALL, TEXT};
use super::labels::{NOTE, chars, clean, even, float, width};
use super::panel::{Band, Bar, Decision, LINE, Mark, Panel, ROW};
use super::scale::ticks;
use super::shapes::{BAR, bar, cap, cross, dot, line, r, rectangle, text, tick};
use crate::plan::Family;
use crate::report::summary::{cut, family_of};

/// The picture as it grows downwards.
pub(super) struct Page {
    columns: Columns,
    body: Group,
    y: f64,
}

impl Page {
    pub(super) fn new(columns: Columns) -> Page {
        Page { columns, body: Group::new(), y: MARGIN }
    }

    pub(super) fn panel(&mut self, panel: &Panel, bands: &[Band]) {
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

    /// The marks of the scale: lines through the bands, and what they mean.
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

    fn row(&mut self, row: &Bar) {
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
            .add(text(columns.family, base, "", &family_of(row.family)))
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
    pub(super) fn legend(&mut self, rows: &[&Bar]) {
        let any = |is: &dyn Fn(&Bar) -> bool| rows.iter().any(|row| is(row));
        let swatch = |family: Family| {
            vec![
                rectangle(0.0, -BAR / 2.0, 18.0, BAR)
                    .set("rx", 2)
                    .set("class", family.name())
                    .into(),
            ]
        };
        let attempt_with = |mark| any(&|row: &Bar| !row.lookup && row.mark == mark);
        let mut signs: Vec<(Vec<Element>, &str)> = Vec::new();
        for family in Family::ALL {
            if any(&|row| row.family == Some(family)) {
                let name = if family == Family::Ipv6 { "IPv6" } else { "IPv4" };
                signs.push((swatch(family), name));
            }
        }
        if any(&|row| row.connected.is_some()) {
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

    pub(super) fn document(self, panels: &[Panel], rows: &[&Bar]) -> String {
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
            .add(Style::new(include_str!("style.css")))
            .add(rectangle(0.0, 0.0, width, height).set("class", "paper"))
            .add(self.body);
        format!("{document}\n")
    }
}
