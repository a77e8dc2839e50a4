//! The compiled module `skydiver.native._native`: conversions between Python and `skydive_core`.

use pyo3::prelude::*;

mod flow_table;
mod netlink;

#[pymodule]
mod _native {
    use super::*;

    #[pymodule_export]
    use crate::flow_table::FlowTable;
    #[pymodule_export]
    use crate::netlink::decode_netlink;

    #[pymodule_init]
    fn init(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        Ok(())
    }
}
