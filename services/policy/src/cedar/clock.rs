//! What a policy text can tell moments of time apart by.
//!
//! A text sees the clock as `context.now`. As long as it only compares it with moments written in the text and with the
//! bounds of the grant, its verdict can change at those moments alone: all moments between two of them are one and the
//! same to it. A text that does more (`context.now - 5 < …`, `[context.now]`) is taken at its word: to it, every moment
//! is another one.

use std::{collections::BTreeSet, sync::Arc};

use cedar_policy::pst::{BinaryOp, Clause, Expr, Literal, Policy, Var};
use fuda_core::{Timestamp, Window};

/// How the policies of one slice use the clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Clock {
    /// They compare it with these moments, and with the bounds of the grant.
    Compared(BTreeSet<i64>),
    /// Every moment is another one.
    Exact,
}

impl Clock {
    /// A clock that nobody looks at.
    pub(super) const UNSEEN: Self = Self::Compared(BTreeSet::new());

    /// Takes in one more policy.
    pub(super) fn see(&mut self, policy: &Policy) {
        for clause in policy.body().clauses() {
            match clause {
                Clause::When(expr) | Clause::Unless(expr) => self.see_expr(expr),
            }
        }
    }

    /// The moments that the policies cannot tell from `now`, for a grant with these bounds. `None` when they tell every
    /// moment from every other.
    pub(super) fn span(&self, now: Timestamp, bounds: Window) -> Option<Window> {
        let Self::Compared(moments) = self else { return None };
        let bounds = [bounds.not_before, bounds.not_after].into_iter().flatten().map(Timestamp::as_millis);
        // Before a moment, at it and behind it are three answers to a comparison: each begins a span.
        let begins = moments.iter().copied().chain(bounds).flat_map(|moment| [Some(moment), moment.checked_add(1)]);
        let (before, behind): (Vec<i64>, Vec<i64>) = begins.flatten().partition(|begin| *begin <= now.as_millis());
        Some(Window {
            not_before: before.into_iter().max().map(Timestamp),
            not_after: behind.into_iter().min().map(|begin| Timestamp(begin - 1)),
        })
    }

    /// Whatever is not known to be harmless makes the clock exact.
    fn see_expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Literal(_) | Expr::Slot(_) | Expr::Var(Var::Principal | Var::Action | Var::Resource) => {}
            Expr::BinaryOp { op, left, right } => {
                if !(compares(*op) && (self.see_comparison(left, right) || self.see_comparison(right, left))) {
                    self.see_all([left, right]);
                }
            }
            // A fact other than the clock. Whether one is there does not depend on the clock either.
            Expr::GetAttr { expr, attr } if is_context(expr) && attr != NOW => {}
            Expr::HasAttr { expr, .. } if is_context(expr) => {}
            Expr::GetAttr { expr, .. }
            | Expr::HasAttr { expr, .. }
            | Expr::UnaryOp { expr, .. }
            | Expr::Like { expr, .. } => self.see_expr(expr),
            Expr::Is { expr, in_expr, .. } => self.see_all(in_expr.iter().chain([expr])),
            Expr::IfThenElse { cond, then_expr, else_expr } => self.see_all([cond, then_expr, else_expr]),
            Expr::Set(items) => self.see_all(items),
            // The context as a whole, which contains the clock, is among these.
            _ => *self = Self::Exact,
        }
    }

    fn see_all<'a>(&mut self, exprs: impl IntoIterator<Item = &'a Arc<Expr>>) {
        exprs.into_iter().for_each(|expr| self.see_expr(expr));
    }

    /// Takes in a comparison of the clock with a moment, if that is what it is.
    fn see_comparison(&mut self, clock: &Expr, moment: &Expr) -> bool {
        if !is_fact(clock, NOW) {
            return false;
        }
        match moment {
            Expr::Literal(Literal::Long(moment)) => {
                if let Self::Compared(moments) = self {
                    moments.insert(*moment);
                }
                true
            }
            Expr::GetAttr { expr, attr } => is_fact(expr, "grant") && BOUNDS.contains(&attr.as_str()),
            _ => false,
        }
    }
}

/// The clock among the facts.
const NOW: &str = "now";
/// The attributes of a grant that are moments.
const BOUNDS: [&str; 2] = ["not_before", "not_after"];

fn compares(op: BinaryOp) -> bool {
    use BinaryOp::{Eq, Greater, GreaterEq, Less, LessEq, NotEq};
    matches!(op, Eq | NotEq | Less | LessEq | Greater | GreaterEq)
}

fn is_fact(expr: &Expr, name: &str) -> bool {
    matches!(expr, Expr::GetAttr { expr, attr } if is_context(expr) && attr == name)
}

fn is_context(expr: &Expr) -> bool {
    matches!(expr, Expr::Var(Var::Context))
}

#[cfg(test)]
#[path = "clock_tests.rs"]
mod tests;
