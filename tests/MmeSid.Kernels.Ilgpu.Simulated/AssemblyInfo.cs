// The simulator is one device: tests in parallel would wait for each other.
[assembly: CollectionBehavior(DisableTestParallelization = true)]
