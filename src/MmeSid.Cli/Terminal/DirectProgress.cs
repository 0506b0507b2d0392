namespace MmeSid.Cli.Terminal;

/// <summary>Reports on the calling thread, so that Ctrl-C ends work where it stands; <see cref="Progress{T}"/> would report from other threads, later.</summary>
internal sealed class DirectProgress<T>(Action<T> report) : IProgress<T>
{
    public void Report(T value) => report(value);
}
