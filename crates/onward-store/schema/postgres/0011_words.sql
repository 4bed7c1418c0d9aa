-- What people wrote about a person is sealed under that person's key (texts as base64), beside the columns that held it plain. A
-- plain `reason` of a copy is from now on what an attempt says of itself, which is counted; the program seals what is there in the
-- transaction of this step, and on a store that several programs share whatever the previous one has written since, when it starts.

-- Why the copy is as it is, in a person's or a recipient's words.
ALTER TABLE deliveries ADD COLUMN words TEXT;
-- Why it is sent again; `replay` only says that it is.
ALTER TABLE deliveries ADD COLUMN replay_words TEXT;
ALTER TABLE delivery_history ADD COLUMN words TEXT;
ALTER TABLE transfers ADD COLUMN ended_words TEXT;
ALTER TABLE approvals ADD COLUMN words TEXT;

-- What is still to be sealed: as a rule nothing.
CREATE INDEX deliveries_plain ON deliveries (id)
    WHERE reason IS NOT NULL AND erased IS NULL AND (state NOT IN ('queued', 'failed') OR ended IS NOT NULL);
CREATE INDEX deliveries_replay_plain ON deliveries (id)
    WHERE replay IS NOT NULL AND replay_words IS NULL AND erased IS NULL;
CREATE INDEX delivery_history_plain ON delivery_history (delivery)
    WHERE reason IS NOT NULL AND state NOT IN ('queued', 'failed');
CREATE INDEX transfers_plain ON transfers (id) WHERE ended_reason IS NOT NULL AND erased IS NULL;
