//! `Ratio` and the plan over sites.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::error::Result;
use crate::ratio::{cheapest, Budget, Cheapest, Placement, Plan, Ratio, Site, Stretch};

/// The Python values that are accepted as a ratio.
#[derive(FromPyObject)]
enum RatioLike<'py> {
    Ratio(PyRef<'py, PyRatio>),
    Text(String),
    Pair(i64, i64),
}

impl RatioLike<'_> {
    fn read(value: &Bound<'_, PyAny>) -> PyResult<Ratio> {
        let like = value.extract::<RatioLike>().map_err(|_| {
            let got = value.get_type().name().map_or_else(|_| "?".into(), |n| n.to_string());
            PyTypeError::new_err(format!(
                "ratio must be \"convs:relus\", a pair of integers or a Ratio, got {got}; \
                 for example \"2:1\""
            ))
        })?;
        Ok(match like {
            RatioLike::Ratio(ratio) => ratio.0,
            RatioLike::Text(text) => text.parse()?,
            RatioLike::Pair(convs, relus) => Ratio::new(convs, relus)?,
        })
    }
}

#[pyclass(name = "Ratio", module = "proprelu._core", frozen, eq, hash)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct PyRatio(Ratio);

#[pymethods]
impl PyRatio {
    #[new]
    #[pyo3(signature = (convs, relus=None))]
    fn new(convs: &Bound<'_, PyAny>, relus: Option<i64>) -> PyResult<PyRatio> {
        Ok(PyRatio(match relus {
            Some(relus) => Ratio::new(convs.extract()?, relus)?,
            None => RatioLike::read(convs)?,
        }))
    }

    /// A ratio from any value that is accepted as one.
    #[classmethod]
    fn of(_cls: &Bound<'_, PyType>, value: &Bound<'_, PyAny>) -> PyResult<PyRatio> {
        RatioLike::read(value).map(PyRatio)
    }

    #[getter]
    fn convs(&self) -> usize {
        self.0.convs()
    }

    #[getter]
    fn relus(&self) -> usize {
        self.0.relus()
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("Ratio({}, {})", self.0.convs(), self.0.relus())
    }

    fn __getnewargs__(&self) -> (usize, usize) {
        (self.0.convs(), self.0.relus())
    }
}

#[pyclass(name = "SitePlan", module = "proprelu._core", frozen)]
struct PyPlan(Plan);

#[pymethods]
impl PyPlan {
    #[getter]
    fn ratio(&self) -> PyRatio {
        PyRatio(self.0.ratio)
    }

    #[getter]
    fn placement(&self) -> String {
        self.0.placement.to_string()
    }

    #[getter]
    fn keep(&self) -> Vec<bool> {
        self.0.keep.clone()
    }

    #[getter]
    fn groups(&self) -> Vec<usize> {
        self.0.groups.clone()
    }

    #[getter]
    fn reasons(&self) -> Vec<String> {
        self.0.reasons.clone()
    }

    #[getter]
    fn kept(&self) -> usize {
        self.0.kept()
    }

    #[getter]
    fn achieved(&self) -> String {
        self.0.achieved()
    }
}

#[derive(FromPyObject)]
enum PlacementLike {
    Name(String),
    Mask(Vec<bool>),
    Order(Vec<usize>),
}

#[pyfunction]
#[pyo3(signature = (blocks, ratio, placement, bare=None))]
fn plan_sites(
    blocks: Vec<Option<usize>>,
    ratio: &Bound<'_, PyAny>,
    placement: PlacementLike,
    bare: Option<Vec<bool>>,
) -> PyResult<PyPlan> {
    let ratio = RatioLike::read(ratio)?;
    let plan = || -> Result<Plan> {
        let placement = match placement {
            PlacementLike::Name(name) => name.parse()?,
            PlacementLike::Mask(mask) => Placement::Mask(mask),
            PlacementLike::Order(order) => Placement::Order(order),
        };
        let bare = bare.unwrap_or_else(|| vec![false; blocks.len()]);
        let both = blocks.into_iter().zip(bare);
        let sites: Vec<_> = both.map(|(block, bare)| Site { block, bare }).collect();
        Plan::new(&sites, ratio, placement)
    };
    Ok(PyPlan(plan()?))
}

/// cheapest_way(stretches, last, time, dropped) -> (list[int] | None, int | None): see the stub.
#[pyfunction]
fn cheapest_way(
    py: Python<'_>,
    stretches: Vec<(usize, usize, u64, f64, usize)>,
    last: usize,
    time: u64,
    dropped: usize,
) -> (Option<Vec<usize>>, Option<u64>) {
    let stretch = |(from, to, time, cost, dropped)| Stretch { from, to, time, cost, dropped };
    let stretches: Vec<Stretch> = stretches.into_iter().map(stretch).collect();
    match py.allow_threads(|| cheapest(&stretches, last, Budget { time, dropped })) {
        Cheapest::Way(way) => (Some(way), None),
        Cheapest::TooSmall { least } => (None, least),
    }
}

pub fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<PyRatio>()?;
    m.add_class::<PyPlan>()?;
    m.add_function(wrap_pyfunction!(plan_sites, m)?)?;
    m.add_function(wrap_pyfunction!(cheapest_way, m)?)
}
