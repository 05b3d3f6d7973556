use crate::live::each;
use std::pin::Pin;
use tokio::task::LocalSet;

type Test = Pin<Box<dyn Future<Output = u32>>>;

#[tokio::test]
async fn results_come_in_the_order_of_the_tests() {
    let later: Test = Box::pin(async {
        tokio::task::yield_now().await;
        1
    });
    let tests = vec![later, Box::pin(async { 2 })];
    let results = LocalSet::new().run_until(each(tests, 2)).await;
    assert_eq!(results, [1, 2]);
}

#[tokio::test]
#[should_panic(expected = "of the test")]
async fn a_test_that_panics_is_not_left_out() {
    let panics: Test = Box::pin(async { panic!("of the test") });
    let tests = vec![panics, Box::pin(async { 2 })];
    LocalSet::new().run_until(each(tests, 2)).await;
}
