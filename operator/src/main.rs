//! x
fn main() {
    print!("{}", zab_operator::crd::definition_yaml().unwrap());
}
