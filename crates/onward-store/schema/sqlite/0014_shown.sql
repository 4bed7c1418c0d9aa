-- Lists and exports, found by what they showed. All of it follows from the events, which are sealed; `audit verify` compares them.

-- How many; NULL in rows of a binary before this.
ALTER TABLE audit_log ADD COLUMN shown INTEGER;
CREATE INDEX audit_log_unkept ON audit_log (recorded, position) WHERE shown IS NULL AND word = 'query' AND patient IS NULL;

CREATE TABLE audit_shown (
    -- A copy or a transfer; '*' where entries of the log left.
    subject TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (subject, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_shown_position ON audit_shown (position);
