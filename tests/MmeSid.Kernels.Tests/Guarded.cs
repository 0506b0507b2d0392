namespace MmeSid.Kernels.Tests;

/// <summary>An output buffer between guard values; <see cref="Check"/> proves that nothing wrote past its ends.</summary>
internal sealed class Guarded<T>
    where T : struct, IEquatable<T>
{
    private const int kGuard = 19;

    private readonly T[] _buffer;
    private readonly T _guard;
    private readonly int _length;

    public Guarded(int length, T guard, T initial = default)
    {
        _buffer = new T[length + 2 * kGuard];
        Array.Fill(_buffer, guard);
        _guard = guard;
        _length = length;
        Span.Fill(initial);
    }

    public Span<T> Span => _buffer.AsSpan(kGuard, _length);

    public T[] Check()
    {
        for (int i = 0; i < kGuard; i++)
        {
            Assert.Equal(_guard, _buffer[i]);
            Assert.Equal(_guard, _buffer[^(i + 1)]);
        }
        return Span.ToArray();
    }
}
