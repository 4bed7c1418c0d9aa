//! Reading dates, date-times and times. What is not one is refused, not mended.

use super::{Precision, Temporal, TemporalKind, days_in_month};

impl Temporal {
    const fn blank(kind: TemporalKind) -> Self {
        Self {
            kind,
            precision: Precision::Year,
            year: 1,
            month: 1,
            day: 1,
            hour: 0,
            minute: 0,
            second: 0,
            nanosecond: 0,
            fraction_digits: 0,
            offset: None,
        }
    }

    /// Reads a date: `2015`, `2015-02`, `2015-02-04`.
    #[must_use]
    pub fn date(text: &str) -> Option<Self> {
        let mut read = Reader { rest: text, made: Self::blank(TemporalKind::Date) };
        read.day()?;
        read.finished()
    }

    /// Reads a date-time; one without a `T` is one of day precision or less, as FHIR's `dateTime` allows.
    #[must_use]
    pub fn date_time(text: &str) -> Option<Self> {
        let mut read = Reader { rest: text, made: Self::blank(TemporalKind::DateTime) };
        read.day()?;
        if read.take('T') && !read.rest.is_empty() {
            // A time needs a whole date before it.
            (read.made.precision == Precision::Day).then_some(())?;
            read.clock()?;
            read.offset()?;
        }
        read.finished()
    }

    /// Reads a time: `14`, `14:34`, `14:34:28.123`.
    #[must_use]
    pub fn time(text: &str) -> Option<Self> {
        let mut read = Reader { rest: text, made: Self::blank(TemporalKind::Time) };
        read.clock()?;
        read.finished()
    }
}

struct Reader<'a> {
    rest: &'a str,
    made: Temporal,
}

impl Reader<'_> {
    fn take(&mut self, wanted: char) -> bool {
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn number(&mut self, digits: usize) -> Option<u32> {
        let head = self.rest.get(..digits).filter(|head| head.bytes().all(|byte| byte.is_ascii_digit()))?;
        self.rest = &self.rest[digits..];
        head.parse().ok()
    }

    fn two(&mut self, range: std::ops::RangeInclusive<u32>) -> Option<u8> {
        self.number(2).filter(|value| range.contains(value)).and_then(|value| u8::try_from(value).ok())
    }

    fn day(&mut self) -> Option<()> {
        self.made.year = self.number(4).filter(|year| *year > 0).and_then(|year| i16::try_from(year).ok())?;
        if self.take('-') {
            self.made.month = self.two(1..=12)?;
            self.made.precision = Precision::Month;
            if self.take('-') {
                self.made.day = self.two(1..=u32::from(days_in_month(self.made.year, self.made.month)))?;
                self.made.precision = Precision::Day;
            }
        }
        Some(())
    }

    fn clock(&mut self) -> Option<()> {
        self.made.hour = self.two(0..=23)?;
        self.made.precision = Precision::Hour;
        if self.take(':') {
            self.made.minute = self.two(0..=59)?;
            self.made.precision = Precision::Minute;
            if self.take(':') {
                // A leap second is written as 60 and is the last second here.
                self.made.second = self.two(0..=60)?.min(59);
                self.made.precision = Precision::Second;
                if self.take('.') {
                    self.fraction()?;
                }
            }
        }
        Some(())
    }

    fn fraction(&mut self) -> Option<()> {
        let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let kept = digits.min(9);
        let value: u32 = self.rest.get(..kept).filter(|kept| !kept.is_empty())?.parse().ok()?;
        self.rest = &self.rest[digits..];
        self.made.fraction_digits = u8::try_from(kept).ok()?;
        self.made.nanosecond = value * 10_u32.pow(9 - u32::from(self.made.fraction_digits));
        Some(())
    }

    fn offset(&mut self) -> Option<()> {
        let sign = match self.rest.bytes().next() {
            None => return Some(()),
            Some(b'Z') => {
                self.rest = &self.rest[1..];
                self.made.offset = Some(0);
                return Some(());
            }
            Some(b'+') => 1,
            Some(b'-') => -1,
            Some(_) => return None,
        };
        self.rest = &self.rest[1..];
        let hours = self.two(0..=14)?;
        self.take(':').then_some(())?;
        let minutes = self.two(0..=59)?;
        self.made.offset = Some(sign * (i16::from(hours) * 60 + i16::from(minutes)));
        Some(())
    }

    fn finished(self) -> Option<Temporal> {
        self.rest.is_empty().then_some(self.made)
    }
}
