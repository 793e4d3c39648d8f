//! A report drawn as a picture: a waterfall in SVG, one bar an attempt, all on one scale of time.

mod columns;
mod labels;
mod page;
mod panel;
mod scale;
mod shapes;

use std::time::Duration;

use columns::Columns;
use page::Page;
use panel::{Band, Bar};
pub use panel::{Decision, Panel};

use super::Report;

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
    let bands: Vec<Vec<Band>> = panels.iter().map(Panel::bands).collect();
    let columns = Columns::new(&bands, total);
    let mut page = Page::new(columns);
    for (panel, bands) in panels.iter().zip(&bands) {
        page.panel(panel, bands);
    }
    let rows: Vec<&Bar> = bands.iter().flatten().flat_map(|band| &band.rows).collect();
    page.legend(&rows);
    page.document(panels, &rows)
}
