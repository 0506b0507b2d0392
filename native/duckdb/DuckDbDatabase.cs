using System.Runtime.InteropServices;
using MmeSid.Kernels;

namespace MmeSid.DuckDb;

/// <summary>A database in memory with one connection. Not thread-safe. Never fetches extensions.</summary>
internal sealed class DuckDbDatabase : IDisposable
{
    private readonly DatabaseHandle _database;
    private readonly ConnectionHandle _connection;

    public DuckDbDatabase()
    {
        DuckDbLibrary.Require();
        Check("duckdb_open", DuckDbNative.duckdb_open(0, out _database), "no database in memory could be made");
        Check("duckdb_connect", DuckDbNative.duckdb_connect(_database, out _connection), "no connection could be made");
        _connection.Hold(_database);
        Execute("SET autoinstall_known_extensions = false");
        Execute("SET autoload_known_extensions = false");
        Execute("SET enable_progress_bar = false");
    }

    /// <summary>A text as SQL writes it.</summary>
    public static string Quote(string text) => $"'{text.Replace("'", "''", StringComparison.Ordinal)}'";

    /// <summary>A name as SQL writes it.</summary>
    public static string QuoteName(string name) => $"\"{name.Replace("\"", "\"\"", StringComparison.Ordinal)}\"";

    /// <summary>Runs a statement to its end.</summary>
    public void Execute(string sql)
    {
        using DuckDbRows rows = Query(sql);
        while (rows.NextChunk())
        {
        }
    }

    /// <summary>Starts a query whose rows are streamed.</summary>
    /// <exception cref="NativeException">The query is wrong or cannot be run; the text is duckdb's.</exception>
    public DuckDbRows Query(string sql)
    {
        int status = DuckDbNative.duckdb_prepare(_connection, sql, out StatementHandle statement);
        try
        {
            statement.Hold(_connection);
            Check("duckdb_prepare", status, status == 0 ? "" : Text(DuckDbNative.duckdb_prepare_error(statement)));
            return new DuckDbRows(statement);
        }
        catch
        {
            statement.Dispose();
            throw;
        }
    }

    /// <summary>Appends rows to a table.</summary>
    public DuckDbAppender Append(string table)
    {
        int status = DuckDbNative.duckdb_appender_create(_connection, null, table, out AppenderHandle appender);
        try
        {
            appender.Hold(_connection);
            Check("duckdb_appender_create", status, status == 0 ? "" : Text(DuckDbNative.duckdb_appender_error(appender)));
            return new DuckDbAppender(appender);
        }
        catch
        {
            appender.Dispose();
            throw;
        }
    }

    public void Dispose()
    {
        _connection.Dispose();
        _database.Dispose();
    }

    internal static void Check(string call, int status, string text)
    {
        if (status != 0)
            throw new NativeException("libduckdb", call, status, text);
    }

    /// <summary>The library's text, on one line.</summary>
    internal static string Text(nint text) => (Marshal.PtrToStringUTF8(text) ?? "no reason given").ReplaceLineEndings(" ").Trim();
}
