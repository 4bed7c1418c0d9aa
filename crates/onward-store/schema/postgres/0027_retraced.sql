-- When PDS was asked again about the person because their own practice did not get its copy, or does not have them: once for a transfer.
ALTER TABLE transfers ADD COLUMN retraced BIGINT;
