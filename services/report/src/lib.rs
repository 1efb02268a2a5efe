//! What compliance teams hand in: documents made of ledger entries, in Japanese and English.
