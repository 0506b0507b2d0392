using System.Text;

namespace MmeSid.DuckDb;

/// <summary>Appends rows value by value, in column order.</summary>
internal sealed unsafe class DuckDbAppender(AppenderHandle appender) : IDisposable
{
    public void Add(ushort value) => Check("duckdb_append_uint16", DuckDbNative.duckdb_append_uint16(appender, value));

    public void Add(string text)
    {
        int size = Encoding.UTF8.GetMaxByteCount(text.Length);
        Span<byte> bytes = size <= 512 ? stackalloc byte[512] : new byte[size];
        int length = Encoding.UTF8.GetBytes(text, bytes);
        fixed (byte* start = bytes)
            Check("duckdb_append_varchar_length", DuckDbNative.duckdb_append_varchar_length(appender, start, (ulong)length));
    }

    public void EndRow() => Check("duckdb_appender_end_row", DuckDbNative.duckdb_appender_end_row(appender));

    /// <summary>Makes the rows visible; nothing can be added after.</summary>
    public void Complete() => Check("duckdb_appender_close", DuckDbNative.duckdb_appender_close(appender));

    public void Dispose() => appender.Dispose();

    private void Check(string call, int status)
    {
        if (status != 0)
            DuckDbDatabase.Check(call, status, DuckDbDatabase.Text(DuckDbNative.duckdb_appender_error(appender)));
    }
}
