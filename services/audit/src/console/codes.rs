//! Codes of entries in words. The code stays beside its name: it is what filters, exports and other people's tools say.

use fuda_report::Text;
use maud::{Markup, html};

use super::guard::Visit;
use super::language::Language;
use super::{reasons, texts};

/// Names of actions that documents do not list.
const ACTIONS: &[(&str, &str)] = &[
    ("bootstrap", "初期設定"),
    ("create_tenant", "法人の作成"),
    ("get_tenant", "法人の参照"),
    ("propose_grants", "権限の提案"),
    ("approve_grants", "権限の承認"),
    ("list_grants", "権限の一覧"),
    ("add_member", "ノードの追加"),
    ("remove_member", "ノードの除外"),
    ("cluster_status", "クラスターの状態の参照"),
    ("read_ledger", "台帳の参照"),
    ("propose_policy", "方針の提案"),
    ("approve_policy", "方針の承認"),
    ("get_policy", "方針の参照"),
    ("explain_denial", "拒否理由の説明"),
    ("shadow_policy", "方針の試行"),
    ("freeze", "凍結"),
    ("thaw", "凍結の解除"),
    ("list_freezes", "凍結の一覧"),
    ("create_canary", "おとりの作成"),
    ("retire_canary", "おとりの終了"),
    ("list_canaries", "おとりの一覧"),
    ("request_access", "利用の申請"),
    ("approve_access", "利用申請の承認"),
    ("deny_access", "利用申請の却下"),
    ("revoke_access", "利用の取消し"),
    ("list_access_requests", "利用申請の一覧"),
    ("break_glass", "緊急利用"),
    ("review_break_glass", "緊急利用の事後確認"),
    ("consent_sub_entrust", "再委託の許諾"),
    ("start_succession", "承認者の承継の開始"),
    ("finish_succession", "承認者の承継の完了"),
    ("cancel_succession", "承認者の承継の取消し"),
    ("list_purposes", "利用目的の一覧"),
    ("propose_catalogue_change", "利用目的の目録の変更提案"),
    ("set_tenant_purposes", "法人の利用目的の設定"),
    ("approve_purpose_order", "利用目的の変更の承認"),
    ("set_tenant_recipients", "提供先の設定"),
    ("cancel_transfer", "他事業者への提供の取消し"),
];

/// What is done, in words; nothing where the code says as much.
pub(super) fn action(code: &str, language: Language) -> Option<String> {
    let of_report = Text::of_action(code).map(|text| match language {
        Language::Japanese => text.of(fuda_report::Language::Japanese).to_owned(),
        Language::English => text.of(fuda_report::Language::English).to_owned(),
    });
    let own = || match language {
        Language::Japanese => ACTIONS.iter().find(|(known, _)| *known == code).map(|(_, name)| (*name).to_owned()),
        Language::English => Some(code.replace('_', " ")).filter(|words| words != code),
    };
    of_report.or_else(own)
}

/// How it was decided, in words.
pub(super) fn decision(code: &str, language: Language) -> Option<String> {
    let text = match code {
        "allowed" => texts::ALLOWED,
        "denied" => texts::DENIED,
        "replayed" => texts::REPLAYED,
        _ => return None,
    };
    Some(text.in_language(language).to_owned()).filter(|name| name != code)
}

/// Why it was denied, in one sentence, without who can change it.
pub(super) fn reason(code: &str, language: Language) -> Option<String> {
    let meaning = reasons::explain(code, language)?.split('→').next()?;
    Some(meaning.trim().to_owned())
}

/// A name and its code.
fn both(name: Option<String>, code: &str) -> Markup {
    html! { @if let Some(name) = name { (name) " " code.quiet { (code) } } @else { code { (code) } } }
}

/// An action in a table.
pub(super) fn show_action(visit: &Visit, code: &str) -> Markup {
    both(action(code, visit.language), code)
}

/// A decision in a table.
pub(super) fn show_decision(visit: &Visit, code: &str) -> Markup {
    both(decision(code, visit.language), code)
}

/// A reason in a table.
pub(super) fn show_reason(visit: &Visit, code: &str) -> Markup {
    both(reason(code, visit.language), code)
}

/// The name of a field's code where an entry is shown whole, beside the code that its proof is about.
pub(super) fn beside(visit: &Visit, field: &str, code: &str) -> Option<String> {
    match field {
        "action" => action(code, visit.language),
        "decision" => decision(code, visit.language),
        "reason" => reason(code, visit.language),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use fuda_ledger::Decision;
    use fuda_policy::{Action, DenyReason};

    use super::*;

    #[test]
    fn codes_have_names_in_both_languages() {
        for (code, _) in ACTIONS {
            assert!(Action::from_code(code).is_some(), "{code} is no action");
            assert!(Text::of_action(code).is_none(), "{code} has a name in documents");
        }
        let named = |code: &str| {
            let japanese = action(code, Language::Japanese);
            japanese.is_some_and(|name| name.chars().any(|letter| ('\u{3040}'..'\u{9fff}').contains(&letter)))
        };
        let nameless: Vec<&str> = Action::ALL.iter().map(|action| action.code()).filter(|code| !named(code)).collect();
        assert!(nameless.is_empty(), "{nameless:?}");
        assert_eq!(action("detokenize", Language::English).as_deref(), Some("reveal"));
        assert_eq!(action("propose_grants", Language::English).as_deref(), Some("propose grants"));
        assert_eq!(action("freeze", Language::English), None, "the code says as much");
        for decided in [Decision::Allowed, Decision::Denied, Decision::Replayed] {
            assert!(decision(decided.code(), Language::Japanese).is_some());
        }
        for denied in DenyReason::ALL {
            for language in Language::ALL {
                assert!(!reason(denied.code(), language).unwrap().contains('→'));
            }
        }
        assert_eq!((reason("", Language::English), decision("", Language::English)), (None, None));
    }
}
