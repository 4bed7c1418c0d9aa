-- Copies that took the place of earlier ones, of which somebody may have one where they do not go and was not told: they were given another
-- address since, or come after one that did not leave. A copy may be here more than once, so that whoever moves it never waits for whoever tells.
CREATE TABLE readdressed (mark BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, delivery UUID NOT NULL);
