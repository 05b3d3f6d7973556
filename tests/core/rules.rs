//! One scenario for each row of the contract.
