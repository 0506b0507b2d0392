// Counts of live tensors and the default random generator belong to the process.
[assembly: CollectionBehavior(DisableTestParallelization = true)]
