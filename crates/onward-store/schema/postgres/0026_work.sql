-- Which background work falls, where an alert is about that: its names are the program's own.
ALTER TABLE alerts ADD COLUMN work TEXT;
