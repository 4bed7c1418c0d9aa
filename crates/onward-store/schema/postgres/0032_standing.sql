-- What is open and no look finds again has the greatest number in `cleared`: programs from before its kind clear whatever has nothing there.
CREATE INDEX alerts_standing ON alerts (kind, subject, step) WHERE cleared = 9223372036854775807;
UPDATE alerts SET cleared = 9223372036854775807 WHERE kind = 'replacement-refused' AND cleared IS NULL;
