//! Units of the Unified Code for Units of Measure (case-sensitive form, UCUM §2–§4): the grammar, and the symbols of its
//! tables. What a unit measures is not judged.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Longer codes are refused, so that the work is bounded.
const CODE_BYTES_MAX: usize = 256;
/// Parentheses within each other.
const DEPTH_MAX: usize = 16;

const PREFIXES: [&str; 24] = [
    "Y", "Z", "E", "P", "T", "G", "M", "k", "h", "da", "d", "c", "m", "u", "n", "p", "f", "a", "z", "y", "Ki", "Mi",
    "Gi", "Ti",
];

/// Symbols that a prefix may precede (UCUM §4, column "M").
const METRIC: &str = "m s g rad K C cd mol sr Hz N Pa J W A V F Ohm S Wb Cel T H lm lx Bq Gy Sv l L ar t bar u eV pc \
    [c] [h] [k] [eps_0] [mu_0] [e] [m_e] [m_p] [G] [g] [ly] gf Ky Gal dyn erg P Bi St Mx G Oe Gb sb Lmb ph Ci R RAD REM \
    cal_[15] cal_[20] cal_m cal_IT cal_th cal tex m[H2O] m[Hg] eq osm g% kat U [iU] [IU] \
    Np B B[SPL] B[V] B[mV] B[uV] B[10.nV] B[W] B[kW] st mho bit By Bd";

/// Symbols that stand without a prefix.
const NOT_METRIC: &str = "10* 10^ [pi] % [ppth] [ppm] [ppb] [pptr] gon deg ' '' min h d a_t a_j a_g a wk mo_s mo_j mo_g mo \
    AU [lbf_av] [in_i] [ft_i] [yd_i] [mi_i] [fth_i] [nmi_i] [kn_i] [sin_i] [sft_i] [syd_i] [cin_i] [cft_i] [cyd_i] [bf_i] \
    [cr_i] [mil_i] [cml_i] [hd_i] [ft_us] [yd_us] [in_us] [rd_us] [ch_us] [lk_us] [rch_us] [rlk_us] [fth_us] [fur_us] \
    [mi_us] [acr_us] [srd_us] [smi_us] [sct] [twp] [mil_us] [in_br] [ft_br] [rd_br] [ch_br] [lk_br] [fth_br] [pc_br] \
    [yd_br] [mi_br] [nmi_br] [kn_br] [acr_br] [gal_us] [bbl_us] [qt_us] [pt_us] [gil_us] [foz_us] [fdr_us] [min_us] \
    [crd_us] [bu_us] [gal_wi] [pk_us] [dqt_us] [dpt_us] [tbs_us] [tsp_us] [cup_us] [foz_m] [cup_m] [tsp_m] [tbs_m] \
    [gal_br] [pk_br] [bu_br] [qt_br] [pt_br] [gil_br] [foz_br] [fdr_br] [min_br] [gr] [lb_av] [oz_av] [dr_av] [scwt_av] \
    [lcwt_av] [ston_av] [lton_av] [stone_av] [pwt_tr] [oz_tr] [lb_tr] [sc_ap] [dr_ap] [oz_ap] [lb_ap] [oz_m] [lne] [pnt] \
    [pca] [pnt_pr] [pca_pr] [pied] [pouce] [ligne] [didot] [cicero] [degF] [degR] [degRe] [Cal] [Btu_39] [Btu_59] [Btu_60] \
    [Btu_m] [Btu_IT] [Btu_th] [Btu] [HP] [den] [in_i'H2O] [in_i'Hg] [PRU] [wood'U] [diop] [p'diop] %[slope] [mesh_i] [Ch] \
    [drp] [hnsf'U] [MET] [hp'_X] [hp'_C] [hp'_M] [hp'_Q] [hp_X] [hp_C] [hp_M] [hp_Q] [kp_X] [kp_C] [kp_M] [kp_Q] [pH] [S] \
    [HPF] [LPF] [arb'U] [USP'U] [GPL'U] [MPL'U] [APL'U] [beth'U] [anti'Xa'U] [todd'U] [dye'U] [smgy'U] [bdsk'U] [ka'U] \
    [knk'U] [mclg'U] [tb'U] [CCID_50] [TCID_50] [EID_50] [PFU] [FFU] [CFU] [IR] [BAU] [AU] [Amb'a'1'U] [PNU] [Lf] [D'ag'U] \
    [FEU] [ELU] [EU] Ao b att [psi] circ sph [car_m] [car_Au] [smoot] [m/s2/Hz^0.5] bit_s";

/// Symbols, and whether a prefix may precede them.
static ATOMS: LazyLock<HashMap<&'static str, bool>> = LazyLock::new(|| {
    let of = |symbols: &'static str, metric: bool| symbols.split_ascii_whitespace().map(move |symbol| (symbol, metric));
    of(METRIC, true).chain(of(NOT_METRIC, false)).collect()
});

/// True for a valid unit.
pub(super) fn is_unit(code: &str) -> bool {
    // All that a unit may hold is printable ASCII without the space (UCUM §3).
    if code.is_empty() || code.len() > CODE_BYTES_MAX || !code.bytes().all(|byte| byte.is_ascii_graphic()) {
        return false;
    }
    let mut reader = Reader { rest: code };
    reader.take("/");
    reader.term(0) && reader.rest.is_empty()
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    /// True when `token` follows, which is then consumed.
    fn take(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c: char| !fits(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// Components, multiplied and divided.
    fn term(&mut self, depth: usize) -> bool {
        loop {
            if !self.component(depth) {
                return false;
            }
            if !self.take(".") && !self.take("/") {
                return true;
            }
        }
    }

    fn component(&mut self, depth: usize) -> bool {
        if self.take("(") {
            return depth < DEPTH_MAX && self.term(depth + 1) && self.take(")");
        }
        if self.rest.starts_with('{') {
            return self.annotation();
        }
        let is_power_of_ten = self.rest.starts_with("10*") || self.rest.starts_with("10^");
        if !is_power_of_ten && self.rest.starts_with(|c: char| c.is_ascii_digit()) {
            let factor = self.take_while(|c| c.is_ascii_digit());
            return factor.bytes().any(|digit| digit != b'0');
        }
        self.simple_unit() && self.exponent() && (!self.rest.starts_with('{') || self.annotation())
    }

    fn annotation(&mut self) -> bool {
        self.take("{") && {
            self.take_while(|c| c != '{' && c != '}');
            self.take("}")
        }
    }

    fn exponent(&mut self) -> bool {
        let signed = self.take("-") || self.take("+");
        let digits = self.take_while(|c| c.is_ascii_digit());
        !signed || !digits.is_empty()
    }

    fn simple_unit(&mut self) -> bool {
        if self.take("10*") || self.take("10^") {
            return true;
        }
        let mut within = false;
        let end = self.rest.find(|c: char| {
            match c {
                '[' => within = true,
                ']' => within = false,
                _ => return !within && (c.is_ascii_digit() || "./(){}+-".contains(c)),
            }
            false
        });
        let (symbol, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        let is_metric = |atom: &str| ATOMS.get(atom) == Some(&true);
        ATOMS.contains_key(symbol) || PREFIXES.iter().any(|prefix| symbol.strip_prefix(prefix).is_some_and(is_metric))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_the_clinic() {
        for good in [
            "mg",
            "g",
            "kg/m2",
            "mm[Hg]",
            "Cel",
            "mmol/L",
            "mg/dL",
            "10*9/L",
            "10*3/uL",
            "/min",
            "{score}",
            "%",
            "1",
            "mL/min/{1.73_m2}",
            "u[iU]/mL",
            "m[iU]/L",
            "[degF]",
            "[lb_av]",
            "[in_i]",
            "meq/L",
            "kPa",
            "a",
            "mo",
            "wk",
            "d",
            "h",
            "min",
            "s",
            "L/min",
            "ug/(24.h)",
            "umol/min/mg{protein}",
            "(ueq.s)/mL",
            "fL",
            "pg",
            "s-1",
            "m+2",
            "10^-6",
            "[arb'U]",
            "dB",
            "B[10.nV]",
            "[m/s2/Hz^0.5]",
            "cm[H2O]",
            "{beats}/min",
            "g{creat}",
            "100.mg",
            "[pH]",
            "''",
        ] {
            assert!(is_unit(good), "{good}");
        }
    }

    #[test]
    fn what_is_no_unit() {
        for bad in [
            "",
            "mmHg",
            "degC",
            "cc",
            "mg/",
            "//min",
            "mg..mL",
            "(mg",
            "mg)",
            "{open",
            "open}",
            "{a{b}}",
            "k[lb_av]",
            "kmin",
            "m-",
            "°C",
            "µg",
            "mg per mL",
            "tablet",
            "Kg",
            "0",
            "/",
            "IU",
            "kkg",
            "[foo]",
            "[",
            "mg{a}{b}",
            "2mg",
            "m[",
        ] {
            assert!(!is_unit(bad), "{bad}");
        }
        assert!(!is_unit(&format!("{}m{}", "(".repeat(100), ")".repeat(100))), "too deep");
        assert!(!is_unit(&format!("{}m", "m.".repeat(200))), "too long");
    }

    #[test]
    fn no_symbol_stands_twice() {
        let count = METRIC.split_ascii_whitespace().count() + NOT_METRIC.split_ascii_whitespace().count();
        assert_eq!(ATOMS.len(), count);
    }
}
