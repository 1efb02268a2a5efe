//! A page that prints well: A4, headings repeated on every sheet, no script, nothing fetched.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::Text;
use crate::document::{Cell, Document, Section, Table};

/// The only style of a page, in its only `<style>`.
pub const STYLE: &str = "\
@page{size:A4 landscape;margin:14mm 12mm 16mm;@bottom-right{content:counter(page) \" / \" counter(pages)}}\
*{box-sizing:border-box}\
body{font:10pt/1.5 \"Noto Sans CJK JP\",\"Noto Sans JP\",\"Hiragino Sans\",\"Yu Gothic\",Meiryo,system-ui,sans-serif;\
color:#111;background:#fff;margin:0 auto;max-width:277mm;padding:8mm}\
h1{font-size:18pt;margin:0 0 1mm}h2{font-size:12.5pt;margin:8mm 0 2mm;border-bottom:.4mm solid #111;break-after:avoid}\
.basis{margin:0 0 4mm;color:#444}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.5mm 4mm;margin:0 0 4mm;font-size:9pt}\
dt{font-weight:600}dd{margin:0;overflow-wrap:anywhere}\
p{margin:0 0 1.5mm}.note{font-size:9pt;color:#333}\
table{border-collapse:collapse;width:100%;font-size:8.5pt;margin:0 0 2mm}\
thead{display:table-header-group}tr{break-inside:avoid}\
th,td{border:.2mm solid #555;padding:.8mm 1.4mm;text-align:left;vertical-align:top;overflow-wrap:anywhere}\
th{background:#eee;font-weight:600}td.n{text-align:right;font-variant-numeric:tabular-nums}\
td.t{white-space:nowrap;font-variant-numeric:tabular-nums}td.m{color:#555;font-style:italic}\
.empty{font-style:italic}\
.sign{display:flex;gap:6mm;flex-wrap:wrap;margin-top:10mm;break-inside:avoid}\
.sign div{flex:1 1 60mm;border-top:.3mm solid #111;padding-top:1mm;min-height:22mm;font-size:9pt}\
footer{margin-top:6mm;border-top:.2mm solid #555;padding-top:1mm;font-size:8pt;color:#444}\
@media print{body{padding:0;max-width:none}}";

/// SHA-256 of [`STYLE`] as a content security policy names it: `style-src 'sha256-…'`.
pub const STYLE_SHA256_BASE64: &str = "PEGLvPV/RJYgVOjpPdQjJ0K/76+pGaw+VRsSpIosBnE=";

impl Document {
    /// The page. Every text is escaped; a policy in the page itself forbids everything but its own style.
    #[must_use]
    pub fn html(&self) -> String {
        let say = |text: Text| text.of(self.language);
        let policy = format!("default-src 'none'; style-src 'sha256-{STYLE_SHA256_BASE64}'; base-uri 'none'");
        let page = html! {
            (DOCTYPE)
            html lang=(self.language.code()) {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(policy);
                    meta name="viewport" content="width=device-width";
                    title { (say(self.title)) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    header {
                        h1 { (say(self.title)) }
                        p.basis { (say(self.basis)) }
                        (self.head_list())
                    }
                    main {
                        @for note in &self.notes { p.note { (note) } }
                        @for section in &self.sections { (self.section(section)) }
                        (self.signature_lines())
                    }
                    footer { (say(Text::FooterMadeBy)) " · " (say(self.title)) " · " (self.foot()) }
                }
            }
        };
        page.into_string()
    }

    fn head_list(&self) -> Markup {
        html! {
            dl {
                @for (name, value) in &self.head {
                    dt { (name.of(self.language)) }
                    dd {
                        (value.shown(&self.zone, self.language))
                        @if let Cell::Missing(why) = value { " (" (why.of(self.language)) ")" }
                    }
                }
            }
        }
    }

    fn section(&self, section: &Section) -> Markup {
        html! {
            section {
                h2 { (section.heading.of(self.language)) }
                @for note in &section.notes { p.note { (note) } }
                @if let Some(table) = &section.table { (self.table(table)) }
            }
        }
    }

    fn table(&self, table: &Table) -> Markup {
        let reasons = table.reasons();
        html! {
            table {
                thead { tr { @for column in &table.columns { th scope="col" { (column.of(self.language)) } } } }
                tbody {
                    @for row in &table.rows { tr { @for cell in row { (self.cell(cell, &reasons)) } } }
                    @if table.rows.is_empty() {
                        tr { td.empty colspan=(table.columns.len()) { (Text::NoRows.of(self.language)) } }
                    }
                }
            }
            @if table.left_out > 0 { p.note { (Text::LeftOut.of(self.language)) ": " (table.left_out) } }
            @for (place, reason) in reasons.iter().enumerate() {
                p.note { "*" (place + 1) " " (reason.of(self.language)) }
            }
        }
    }

    /// A field; one that is not recorded points to the reason under the table.
    fn cell(&self, cell: &Cell, reasons: &[Text]) -> Markup {
        let shown = cell.shown(&self.zone, self.language);
        match cell {
            Cell::Count(_) => html! { td.n { (shown) } },
            Cell::Day(_) | Cell::Moment(_) => html! { td.t { (shown) } },
            Cell::Text(_) | Cell::Empty => html! { td { (shown) } },
            Cell::Missing(why) => {
                let place = reasons.iter().position(|reason| reason == why).map_or(0, |place| place + 1);
                html! { td.m { (shown) " *" (place) } }
            }
        }
    }

    fn signature_lines(&self) -> Markup {
        html! {
            @if !self.signatures.is_empty() {
                div.sign {
                    @for signer in &self.signatures {
                        div { (signer.of(self.language)) br; (Text::SignDate.of(self.language)) }
                    }
                }
            }
        }
    }

    /// The head of the log, so that every printed sheet can be tied to it.
    fn foot(&self) -> String {
        let wanted = [Text::LedgerOrigin, Text::LedgerSize, Text::LedgerRoot];
        let found = self.head.iter().filter(|(name, _)| wanted.contains(name));
        let shown: Vec<String> = found.map(|(_, value)| value.shown(&self.zone, self.language)).collect();
        shown.join(" · ")
    }
}
