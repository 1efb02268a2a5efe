//! Charts as markup: rectangles in classes of the style sheet, with every figure in words as well.

use maud::{Markup, html};

/// Longest label in characters; the full one is in the title of the cell.
const LABEL_CHARS_MAX: usize = 34;
/// Shades of a heat map in the style sheet, behind the empty one.
const SHADES: u64 = 8;

/// A heat map: a value per row and column.
pub(super) struct HeatMap<'a> {
    pub(super) name: &'a str,
    pub(super) rows: &'a [String],
    pub(super) columns: &'a [String],
    /// By row, then by column.
    pub(super) values: &'a [Vec<u64>],
    /// Turns the labels of columns, where they are long.
    pub(super) steep: bool,
}

impl HeatMap<'_> {
    /// The map, as wide as the page.
    pub(super) fn markup(&self) -> Markup {
        let most = self.values.iter().flatten().copied().max().unwrap_or_default();
        let (left, top) = (240, if self.steep { 150 } else { 24 });
        let wide = (960 / self.columns.len().max(1)).clamp(18, 120);
        let high = 22;
        // A turned label reaches out to the right of its column.
        let right = if self.steep { 180 } else { 8 };
        let size = (left + wide * self.columns.len() + right, top + high * self.rows.len() + 8);
        html! {
            svg.chart viewBox={ "0 0 " (size.0) " " (size.1) } role="img" aria-label=(self.name) {
                @for (place, column) in self.columns.iter().enumerate() {
                    @let x = left + wide * place + wide / 2;
                    @if self.steep {
                        text x=(x) y=(top - 6) transform={ "rotate(-40 " (x) " " (top - 6) ")" } { (short(column)) }
                    } @else {
                        text x=(x) y=(top - 8) text-anchor="middle" { (column) }
                    }
                }
                @for (row, (label, values)) in self.rows.iter().zip(self.values).enumerate() {
                    @let y = top + high * row;
                    text x=(left - 6) y=(y + 15) text-anchor="end" { (short(label)) }
                    @for (place, (column, value)) in self.columns.iter().zip(values).enumerate() {
                        rect class={ "heat-" (shade(*value, most)) } x=(left + wide * place) y=(y) width=(wide - 1) height=(high - 1) {
                            title { (label) " × " (column) ": " (value) }
                        }
                    }
                }
            }
        }
    }
}

/// Bars over time; the second part of each is shown in another colour.
pub(super) fn bars(name: &str, values: &[(String, u64, u64)]) -> Markup {
    let most = values.iter().map(|(_, first, second)| first + second).max().unwrap_or_default().max(1);
    let (count, high) = (values.len().max(1) as u64, 160_u64);
    let wide = (1_180 / count).clamp(2, 60);
    let base = high + 20;
    let tall = |value: u64| (value * high).div_ceil(most);
    let every = values.len().div_ceil(12).max(1);
    html! {
        svg.chart viewBox={ "0 0 1200 " (base + 30) } role="img" aria-label=(name) {
            line.axis x1="8" x2="1192" y1=(base) y2=(base) {}
            text x="8" y="12" { (most) }
            @for (place, (label, first, second)) in values.iter().enumerate() {
                @let x = 10 + wide * place as u64;
                g {
                    title { (label) ": " (first) " + " (second) }
                    rect.bar x=(x) y=(base - tall(*first)) width=(wide - 1) height=(tall(*first)) {}
                    rect.denied x=(x) y=(base.saturating_sub(tall(*first) + tall(*second))) width=(wide - 1)
                        height=(tall(*second)) {}
                }
                @if place % every == 0 { text x=(x) y=(base + 18) { (label) } }
            }
        }
    }
}

/// The shade of a value: nothing has the lightest one, and whatever is something has at least the next.
fn shade(value: u64, most: u64) -> u64 {
    if most == 0 { 0 } else { (value * SHADES).div_ceil(most) }
}

/// The end of a label: what tells callers apart comes last.
fn short(label: &str) -> String {
    let length = label.chars().count();
    if length <= LABEL_CHARS_MAX {
        return label.to_owned();
    }
    std::iter::once('…').chain(label.chars().skip(length - LABEL_CHARS_MAX + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_happened_is_seen() {
        assert_eq!([(0, 0), (0, 9), (1, 1_000_000), (500, 1_000), (9, 9)].map(|(v, m)| shade(v, m)), [0, 0, 1, 4, 8]);
    }

    #[test]
    fn charts_hold_every_figure_and_no_style() {
        let (rows, columns) = (["a<b".to_owned()], ["x".to_owned(), "y".to_owned()]);
        let map = HeatMap { name: "n", rows: &rows, columns: &columns, values: &[vec![3, 0]], steep: true };
        let markup = map.markup().into_string();
        assert!(markup.contains("a&lt;b × x: 3") && markup.contains("a&lt;b × y: 0") && !markup.contains("style="));
        let markup = bars("n", &[("d1".to_owned(), 2, 1), ("d2".to_owned(), 0, 0)]).into_string();
        assert!(markup.contains("d1: 2 + 1") && !markup.contains("style="));
        assert!(bars("n", &[]).into_string().contains("<svg"));
    }

    #[test]
    fn long_labels_keep_their_end() {
        let long = format!("spiffe://corp.example/{}/payroll", "x".repeat(40));
        let shown = short(&long);
        assert!(shown.starts_with('…') && shown.ends_with("/payroll") && shown.chars().count() == LABEL_CHARS_MAX);
    }
}
