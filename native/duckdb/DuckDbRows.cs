using System.Text;

namespace MmeSid.DuckDb;

/// <summary>Streamed rows of a query, chunk by chunk. Spans are valid until the next chunk. The caller knows the types from its SQL.</summary>
internal sealed unsafe class DuckDbRows : IDisposable
{
    private readonly StatementHandle _statement;
    private DuckDbNative.Result _result;
    private ChunkHandle? _chunk;

    public DuckDbRows(StatementHandle statement)
    {
        int status = DuckDbNative.duckdb_execute_prepared_streaming(statement, out _result);
        if (status != 0)
        {
            string text = DuckDbDatabase.Text(DuckDbNative.duckdb_result_error(ref _result));
            DuckDbNative.duckdb_destroy_result(ref _result);
            DuckDbDatabase.Check("duckdb_execute_prepared_streaming", status, text);
        }
        _statement = statement;
    }

    /// <summary>Rows of the current chunk.</summary>
    public int Count { get; private set; }

    /// <summary>Moves to the next chunk; false at the end.</summary>
    /// <exception cref="MmeSid.Kernels.NativeException">The query failed on the way, on a corrupt file for instance.</exception>
    public bool NextChunk()
    {
        _chunk?.Dispose();
        _chunk = DuckDbNative.duckdb_fetch_chunk(_result);
        if (_chunk.IsInvalid)
        {
            _chunk = null;
            Count = 0;
            nint error = DuckDbNative.duckdb_result_error(ref _result);
            if (error != 0 && DuckDbDatabase.Text(error) is { Length: > 0 } text)
                DuckDbDatabase.Check("duckdb_fetch_chunk", 1, text);
            return false;
        }
        Count = (int)DuckDbNative.duckdb_data_chunk_get_size(_chunk);
        return Count > 0;
    }

    public bool IsNull(int column, int row) => !IsValid(DuckDbNative.duckdb_vector_get_validity(Vector(column)), (ulong)row);

    /// <summary>A VARCHAR.</summary>
    public string GetText(int column, int row)
    {
        // duckdb_string_t, 16 bytes: length, then up to 12 bytes in place, or 4 bytes and a pointer.
        byte* entry = (byte*)DuckDbNative.duckdb_vector_get_data(Vector(column)) + 16L * row;
        int length = *(int*)entry;
        return Encoding.UTF8.GetString(length <= 12 ? entry + 4 : *(byte**)(entry + 8), length);
    }

    /// <summary>A list of FLOAT (T = float) or DOUBLE (T = double).</summary>
    /// <param name="column">Column.</param>
    /// <param name="row">Row in the chunk, not null.</param>
    /// <param name="firstNull">Index of the first NULL in it, −1 when there is none.</param>
    public ReadOnlySpan<T> GetList<T>(int column, int row, out int firstNull)
        where T : unmanaged
    {
        nint vector = Vector(column);
        DuckDbNative.ListEntry entry = ((DuckDbNative.ListEntry*)DuckDbNative.duckdb_vector_get_data(vector))[row];
        nint child = DuckDbNative.duckdb_list_vector_get_child(vector);
        ulong* validity = DuckDbNative.duckdb_vector_get_validity(child);
        firstNull = -1;
        for (ulong i = 0; validity is not null && i < entry.Length; i++)
        {
            if (!IsValid(validity, entry.Offset + i))
            {
                firstNull = (int)i;
                break;
            }
        }
        return new ReadOnlySpan<T>((T*)DuckDbNative.duckdb_vector_get_data(child) + entry.Offset, checked((int)entry.Length));
    }

    public void Dispose()
    {
        _chunk?.Dispose();
        DuckDbNative.duckdb_destroy_result(ref _result);
        _statement.Dispose();
    }

    private static bool IsValid(ulong* validity, ulong row) => validity is null || (validity[row / 64] >> (int)(row % 64) & 1) != 0;

    private nint Vector(int column) => DuckDbNative.duckdb_data_chunk_get_vector(_chunk!, (ulong)column);
}
