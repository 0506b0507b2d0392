using System.Runtime.InteropServices;

namespace MmeSid.DuckDb;

/// <summary>A native object that keeps the one it was made from alive.</summary>
internal abstract class DuckDbHandle() : SafeHandle(0, ownsHandle: true)
{
    private SafeHandle? _parent;

    public sealed override bool IsInvalid => handle == 0;

    public void Hold(SafeHandle parent)
    {
        bool added = false;
        parent.DangerousAddRef(ref added);
        _parent = parent;
    }

    protected sealed override bool ReleaseHandle()
    {
        Destroy(ref handle);
        _parent?.DangerousRelease();
        return true;
    }

    protected abstract void Destroy(ref nint pointer);
}

internal sealed class DatabaseHandle : DuckDbHandle
{
    protected override void Destroy(ref nint pointer) => DuckDbNative.duckdb_close(ref pointer);
}

internal sealed class ConnectionHandle : DuckDbHandle
{
    protected override void Destroy(ref nint pointer) => DuckDbNative.duckdb_disconnect(ref pointer);
}

internal sealed class StatementHandle : DuckDbHandle
{
    protected override void Destroy(ref nint pointer) => DuckDbNative.duckdb_destroy_prepare(ref pointer);
}

internal sealed class ChunkHandle : DuckDbHandle
{
    protected override void Destroy(ref nint pointer) => DuckDbNative.duckdb_destroy_data_chunk(ref pointer);
}

internal sealed class AppenderHandle : DuckDbHandle
{
    protected override void Destroy(ref nint pointer) => _ = DuckDbNative.duckdb_appender_destroy(ref pointer);
}
