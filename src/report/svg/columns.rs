//! The positions of the columns of a picture.

use std::time::Duration;

use super::labels::width;
use super::panel::Band;

pub(super) const MARGIN: f64 = 20.0;
/// Room for the characters of each class of text. Generous: which font is used is the reader's.
pub(super) const TEXT: f64 = 7.4;
pub(super) const SMALL: f64 = 6.5;
pub(super) const LARGE: f64 = 9.0;
/// The narrowest that a picture and the part of it with the bars may be.
pub(super) const WIDTH: f64 = 900.0;
pub(super) const PLOT: f64 = 420.0;
/// The positions of the columns.
pub(super) struct Columns {
    pub(super) family: f64,
    pub(super) place: f64,
    /// From and to where the bars reach.
    pub(super) plot: (f64, f64),
    /// Its right edge.
    pub(super) took: f64,
    pub(super) note: f64,
    pub(super) width: f64,
    pub(super) total: Duration,
}

impl Columns {
    pub(super) fn new(bands: &[Vec<Band>], total: Duration) -> Columns {
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

    pub(super) fn x(&self, time: Duration) -> f64 {
        let part = time.as_secs_f64() / self.total.as_secs_f64();
        self.plot.0 + (self.plot.1 - self.plot.0) * part.min(1.0)
    }
}
