//! Why something was denied, in words: the English ones are the page of reasons itself.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::language::Language;

const PAGE: &str = include_str!("../../../../docs/src/reference/deny-reasons.md");

/// Meaning and remedy by code, as the rows of the page say.
static ENGLISH: LazyLock<BTreeMap<&'static str, String>> = LazyLock::new(|| {
    let rows = PAGE.lines().filter_map(|line| {
        let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
        cells.next()?.parse::<u8>().ok()?;
        let (code, meaning, remedy) = (cells.next()?.trim_matches('`'), cells.next()?, cells.next()?);
        Some((code, format!("{} → {}", plain(meaning), plain(remedy))))
    });
    rows.collect()
});

/// The words of a cell without its marks: `[text](target)` and code.
fn plain(cell: &str) -> String {
    let mut words = String::with_capacity(cell.len());
    let mut rest = cell;
    while let Some((before, link)) = rest.split_once('[') {
        let Some((text, behind)) = link.split_once("](").and_then(|(text, end)| Some((text, end.split_once(')')?.1)))
        else {
            break;
        };
        words.push_str(before);
        words.push_str(text);
        rest = behind;
    }
    words.push_str(rest);
    words.replace('`', "")
}

/// What a reason means, and who can change it; nothing for a code that is no reason.
pub(super) fn explain(code: &str, language: Language) -> Option<&'static str> {
    match language {
        Language::English => ENGLISH.get(code).map(String::as_str),
        Language::Japanese => JAPANESE.iter().find(|(known, _)| *known == code).map(|(_, text)| *text),
    }
}

const JAPANESE: &[(&str, &str)] = &[
    ("no_grant", "この法人でこの操作を行う権限が、呼出元に与えられていません。→ 責任者が権限を提案します。"),
    ("grant_expired", "権限はありますが、有効期間の外です。→ 新しい権限が必要です。"),
    ("purpose_not_granted", "示された利用目的は、与えられた権限に含まれていません。→ その目的の権限が必要です。"),
    ("purpose_unknown", "示された利用目的は、目録にありません。→ 呼出元が目録の符号を使います。"),
    ("purpose_not_enabled", "この法人は、その利用目的を有効にしていません。→ 責任者が有効化し、承認者が承認します。"),
    ("purpose_reveals", "その利用目的では、番号を表示できません。→ 呼出元が本来の目的を示します。"),
    ("kind_not_granted", "その種類の番号は、権限に含まれていません。→ その種類の権限が必要です。"),
    ("scope_not_granted", "その利用システムは、権限に含まれていません。→ 権限または利用システムを改めます。"),
    ("tenant_unknown", "示された法人は存在しないか、法人が示されていません。→ 呼出元が改めます。"),
    ("relation_not_revealable", "その利用目的では、この関係にある人の番号を扱えません。→ 変更できません。"),
    ("not_notified", "本人に、この利用目的が通知されていません。→ 利用目的を通知します。"),
    ("notified_window", "本人への通知は、別の期間についてのものです。→ 期間を待つか、改めて通知します。"),
    ("record_disabled", "この記録は停止中か、置き換えられています。→ 置換えでなければ再開できます。"),
    ("unknown_token", "そのトークンに対応する記録はありません。→ 別の環境のトークンか、作り物です。"),
    (
        "token_of_other_tenant",
        "そのトークンは別の法人のものです。→ 法人を越えてトークンが渡っています。調査が必要です。",
    ),
    (
        "token_of_other_scope",
        "そのトークンは別の利用システムのものです。→ トークンが他に渡っています。調査が必要です。",
    ),
    ("budget_exhausted", "期間内に扱える人数の枠を使い切りました。→ 期間を待つか、枠を見直します。"),
    ("guesses_exhausted", "この記録について、一日の照合回数を使い切りました。→ 誰が試しているか確認します。"),
    (
        "forbidden_by_policy",
        "条件は満たしていますが、方針（Cedar）が禁じているか、許していません。→ 方針の作成者が見直します。",
    ),
    ("not_bootstrapped", "金庫にまだ責任者がいません。→ 初期設定を行います。"),
    ("role_conflict", "一人の呼出元に二つの役割を与えることになります。→ 別の呼出元にします。"),
    ("same_person", "提案者と承認者が同じです。→ 別の承認者が必要です。"),
    ("unknown_order", "そのIDの未処理の提案はありません。→ 承認者がIDを確認します。"),
    ("purpose_missing", "番号を表示する操作なのに、利用目的が示されていません。→ 呼出元が目的を示します。"),
    ("already_exists", "この人には、この種類の有効な記録が既にあります。→ 既にあるトークンを使います。"),
    ("grant_invalid", "提案された権限が規則に反しています。→ 提案者が規則を確認します。"),
    ("token_exists", "この利用システムのトークンは既にあります。→ それを使うか、取り替えます。"),
    ("too_many_tokens", "一つの記録に持てるトークンの数に達しています。→ 利用システムを減らします。"),
    ("unknown_record", "そのID、または本人と種類に対応する記録はありません。→ 呼出元が改めます。"),
    ("record_superseded", "この記録は置き換えられ、消去を待っています。→ 新しい記録を使います。"),
    ("too_many_notices", "一つの記録に持てる通知の数に達しています。→ 通知を減らします。"),
    ("kind_not_masked", "この種類の番号は、一部だけの表示ができません。→ 変更できません。"),
    (
        "frozen",
        "利用システム、利用目的、法人、または金庫全体が凍結されています。→ 凍結した人以外の承認者が解除します。",
    ),
    ("caller_frozen", "呼出元が凍結されています。→ 凍結した人以外の承認者が解除します。"),
    ("canary_token", "おとりのトークンです。どの番号にも対応しません。→ 誰がその利用システムを読んだか調査します。"),
    ("end_user_required", "担当者の証明が必要な権限ですが、示されていません。→ 業務システムが証明を付けます。"),
    ("end_user_refused", "示された担当者の証明が無効です。→ 業務システムまたは発行元を確認します。"),
    ("end_user_replayed", "担当者の証明が、別の呼出しで既に使われています。→ 証明が他に渡っています。調査が必要です。"),
    ("step_up_required", "担当者の認証が古いか、強度が足りません。→ もう一度認証します。"),
    ("job_expired", "承認済みのジョブは、開始前か終了後です。→ 新しい権限が必要です。"),
    ("source_zone_not_granted", "権限は、この接続元区域からの利用を認めていません。→ 接続元または権限を見直します。"),
    ("outside_hours", "権限は、この時間帯の利用を認めていません。→ 時間を待つか、権限を見直します。"),
    ("training_expired", "担当者の教育の有効期限が切れています。→ 教育を実施し、権限を更新します。"),
    ("relation_not_granted", "権限は、この関係にある人を対象としていません。→ その関係の権限が必要です。"),
    ("subject_not_granted", "権限は、別の人を対象としています。→ その人の権限が必要です。"),
    ("label_not_granted", "権限は、別の区分の記録を対象としています。→ 権限または区分を見直します。"),
    ("access_unknown", "そのIDの利用申請はありません。→ 承認者がIDを確認します。"),
    ("access_closed", "その利用申請は、既に処理されたか失効しました。→ 担当者が改めて申請します。"),
    ("access_ceiling", "申請が、申請者に許された範囲を超えています。→ より広い権限が必要です。"),
    ("review_overdue", "緊急利用の事後確認が滞っています。→ 承認者が確認します。"),
    ("consent_missing", "再委託について、法人の許諾がありません。→ 責任者または承認者が許諾します。"),
    ("purpose_retired", "その利用目的は廃止されました。→ 後継の符号を使います。"),
    ("purpose_change_invalid", "利用目的の変更が規則に反しているか、目録がその後変わりました。→ 目録を読み直します。"),
    ("purpose_forbidden", "法律が禁じる利用です。→ 弁護士等の承認による例外を除き、変更できません。"),
    (
        "two_persons_needed",
        "二人での確認が必要な利用目的ですが、そのための権限ではありません。→ 期間と人数を限った権限が必要です。",
    ),
    (
        "delivery_not_allowed",
        "この利用目的では、別の方法で番号を渡すことになっています。→ 封緘または提供の手続を使います。",
    ),
    ("recipient_unknown", "その提供先は登録されていないか、示されていません。→ 指紋を確認するか、二人で登録します。"),
    ("recipient_not_for_purpose", "その提供先は、この利用目的について登録されていません。→ 二人で登録します。"),
    ("recipient_not_granted", "権限は、別の提供先についてのものです。→ その提供先の権限が必要です。"),
    ("recipient_expired", "提供先の登録期間が終わっています。→ 二人で改めて登録します。"),
    ("recipient_invalid", "提供先の変更が規則に反しています。→ 提案者が鍵、目的、期間（366日以内）を確認します。"),
    (
        "verification_missing",
        "この法人は、本人確認の記録がない番号を受け付けません。→ 収集時に本人確認の記録を付けます。",
    ),
    ("not_own_number", "自分の番号の開示ですが、担当者の証明は別の人を示しています。→ 本人以外には開示できません。"),
    (
        "transfer_consent",
        "提供の申出に本人の同意の記録がないか、日付に矛盾があります。→ 提供先の決定後に同意を得ます。",
    ),
    ("destination_not_granted", "権限は、別の法人への提供についてのものです。→ その提供先の権限が必要です。"),
    ("transfer_unknown", "そのIDとトークンに対応する提供の申出はありません。→ 提供元が改めて申し出ます。"),
    ("grant_rate", "一分間に認められた呼出回数に達しました。→ 一分待つか、まとめて送るか、上限を見直します。"),
];

#[cfg(test)]
mod tests {
    use fuda_policy::DenyReason;

    use super::*;

    #[test]
    fn every_reason_is_explained_in_both_languages() {
        for reason in DenyReason::ALL {
            for language in Language::ALL {
                let text = explain(reason.code(), language);
                let text = text.unwrap_or_else(|| panic!("{} is not explained in {}", reason.code(), language.name()));
                assert!(text.contains('→') && !text.contains(['`', '[', '|']), "{text}");
            }
        }
        assert_eq!(JAPANESE.len(), DenyReason::ALL.len(), "no reason that does not exist");
        assert!(explain("", Language::English).is_none() && explain("no", Language::Japanese).is_none());
    }

    #[test]
    fn marks_of_the_page_are_taken_away() {
        assert_eq!(plain("see [FUDA](a.md) or `x`, [y](z)"), "see FUDA or x, y");
        assert_eq!(plain("half [a link"), "half [a link");
    }
}
