using MmeSid.DuckDb;
using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Files;
using MmeSid.Kernels;

namespace MmeSid.Engine.Tests.Embeddings;

/// <summary>CSV and Parquet: tables that are read through once.</summary>
public sealed class TextTableTests : IDisposable
{
    private readonly ScratchFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private static (float[] Values, string[] Items) Read(string path, EmbeddingOptions? options = null)
    {
        using EmbeddingTable table = EmbeddingTable.Open([path], options);
        var values = new float[table.Count * table.Dimension];
        table.Read(0, (int)table.Count, values);
        return (values, [.. table.Items]);
    }

    private static string Refusal(string path, EmbeddingOptions? options = null)
    {
        string message = Assert.Throws<InvalidDataException>(() => EmbeddingTable.Open([path], options)).Message;
        Assert.StartsWith(path + ": ", message);
        return message[(path.Length + 2)..];
    }

    [Fact]
    public void Csv_with_columns_of_numbers()
    {
        string path = _folder.Write("x.csv", "a,item,b\n1,\"x,1\",-2.5e-3\n 3 ,y,4\n");
        (float[] values, string[] items) = Read(path);
        Assert.Equal([1f, -2.5e-3f, 3, 4], values);
        Assert.Equal(["x,1", "y"], items);
        Assert.Equal(["3", "1"], Read(_folder.Write("x.csv", "a,b\n1,3\n2,1\n"), new EmbeddingOptions { IdColumn = "b" }).Items);
        Assert.Equal(["1", "2"], Read(path: _folder.Write("x.csv", "a,b\n1,3\n2,1\n")).Items);
        Assert.Equal([1f / 3], Read(_folder.Write("x.tsv", "id\tv\nq\t0.333333333333333333\n")).Values);
    }

    [Fact]
    public void Csv_with_a_list()
    {
        string path = _folder.Write("x.csv", "item,vector,text\nx,\"[1, 2.5,3]\",hello\ny,4 5 6,there\n");
        Assert.Equal([1f, 2.5f, 3, 4, 5, 6], Read(path, new EmbeddingOptions { VectorColumn = "vector" }).Values);
        Assert.Equal([1f, 2, 3, 4], Read(_folder.Write("x.tsv", "id\tv\na\t[1, 2]\nb\t[3, 4]\n")).Values);
    }

    [Theory]
    [InlineData("item,a\nx,1\nx,2\n", "row 1: item id 'x' was already given in row 0; ids must be unique")]
    [InlineData("item,a\nx,1\n,2\n", "row 1: the item id is empty")]
    [InlineData("item,a\nx,1\ny,oops\n", "line 3, column 'a' is 'oops', expected a number")]
    [InlineData("item,a\nx,1\ny,\n", "line 3, column 'a' is '', expected a number")]
    [InlineData("item,a\nx,1\ny,NaN\n", "line 3, column 'a' is NaN, expected a finite number")]
    [InlineData("item,a\nx,-Infinity\n", "line 2, column 'a' is -infinity, expected a finite number")]
    [InlineData("item,a\nx,1e39\n", "line 2, column 'a' is 1E+39, which overflows float32 (at most 3.4028235E+38)")]
    [InlineData("item,a,b\nx,1\n", "line 2: has 2 fields, expected 3 as in the line of column names")]
    [InlineData("item,a,a\nx,1,2\n", "has two columns called 'a'")]
    [InlineData("item\nx\n", "has no column of numbers beside the item ids")]
    [InlineData("", "is empty, expected a line of column names")]
    public void A_csv_that_is_not_a_table_is_refused(string text, string message) => Assert.Equal(message, Refusal(_folder.Write("x.csv", text)));

    [Fact]
    public void A_missing_column_is_named_with_those_that_exist()
    {
        string path = _folder.Write("x.csv", "item,a\nx,1\n");
        Assert.Equal("has no column 'sku'; it has: item, a", Refusal(path, new EmbeddingOptions { IdColumn = "sku" }));
        Assert.Equal("has no column 'vector'; it has: item, a", Refusal(path, new EmbeddingOptions { VectorColumn = "vector" }));
        Assert.Equal("line 3: has dimension 3, expected 2 as in the first row", Refusal(_folder.Write("x.csv", "item,a\nx,[1 2]\ny,[1 2 3]\n")));
        Assert.Equal("is no UTF-8 text", Refusal(_folder.Write("x.csv", [.. "item,a\nx,"u8, 0xFF, 0xFE, (byte)'\n'])));
    }

    [Fact]
    public void Rows_that_do_not_fit_the_budget_go_to_a_temporary_file()
    {
        const int dimension = 33, count = 100_003;
        using var spool = new RowSpool(dimension, memoryBytes: 9 << 20);
        var row = new float[dimension];
        for (int i = 0; i < count; i++)
        {
            row.AsSpan().Fill(i);
            spool.Append(row);
        }
        Assert.True(spool.IsInFile);
        Assert.Equal(count, spool.Count);
        foreach ((int first, int rows) in new[] { (0, 3), (31_774, 5), (63_000, 2000), (count - 2, 2), (0, count) })
        {
            var values = new float[rows * dimension];
            spool.Read(first, rows, values);
            for (int i = 0; i < rows; i++)
                Assert.True(values.AsSpan(i * dimension, dimension).IndexOfAnyExcept((float)(first + i)) < 0, $"row {first + i}");
        }
    }

    private static DuckDbDatabase Database()
    {
        Assert.SkipUnless(DuckDbLibrary.UnavailableReason is null, DuckDbLibrary.UnavailableReason ?? "");
        return new DuckDbDatabase();
    }

    private string Parquet(string select)
    {
        using DuckDbDatabase database = Database();
        database.Execute($"COPY ({select}) TO '{_folder["x.parquet"]}' (FORMAT parquet)");
        return _folder["x.parquet"];
    }

    [Theory]
    [InlineData("FLOAT[]")]
    [InlineData("DOUBLE[]")]
    [InlineData("INTEGER[]")]
    [InlineData("FLOAT[3]")]
    public void Parquet_lists_of_every_kind_of_number(string type)
    {
        // More rows than a chunk of the library, long and short ids.
        string path = Parquet($"SELECT CASE WHEN i % 2 = 0 THEN 'a rather long item id ' ELSE 'i' END || i AS item, 'x' AS other, CAST([i, i + 1, -i] AS {type}) AS vector FROM range(5001) t(i)");
        (float[] values, string[] items) = Read(path);
        Assert.Equal(Enumerable.Range(0, 5001).SelectMany(i => (float[])[i, i + 1, -i]), values);
        Assert.Equal(Enumerable.Range(0, 5001).Select(i => (i % 2 == 0 ? "a rather long item id " : "i") + i), items);
    }

    [Fact]
    public void Parquet_numbers_name_items_too_and_rows_are_numbered_without_an_id()
    {
        Assert.Equal(["7", "9"], Read(Parquet("SELECT * FROM (VALUES (7, [1.5::DOUBLE]), (9, [2.5])) t(id, v)")).Items);
        Assert.Equal(["1", "2"], Read(Parquet("SELECT * FROM (VALUES ([1.5::DOUBLE]), ([2.5])) t(v)")).Items);
    }

    [Theory]
    [InlineData("VALUES ('a', [1.0::FLOAT]), ('a', [2.0])", "row 1: item id 'a' was already given in row 0; ids must be unique")]
    [InlineData("VALUES ('a', [1.0::FLOAT]), (NULL, [2.0])", "row 1: column 'item' is null, expected an item id")]
    [InlineData("VALUES ('a', [1.0::FLOAT]), ('b', NULL)", "row 1: column 'v' is null, expected a list of numbers")]
    [InlineData("VALUES ('a', [1.0::FLOAT, 2]), ('b', [2, NULL])", "row 1, column 1 is null, expected a number")]
    [InlineData("VALUES ('a', [1.0::FLOAT, 2]), ('b', [2])", "row 1 has dimension 1, expected 2 as in row 0")]
    [InlineData("VALUES ('a', ['nan'::FLOAT])", "row 0, column 0 is NaN, expected a finite number")]
    [InlineData("VALUES ('a', [1e300::DOUBLE])", "row 0, column 0 is 1E+300, which overflows float32 (at most 3.4028235E+38)")]
    [InlineData("VALUES ('a', 1.0::FLOAT)", "has 0 list columns, expected one, or the name of the one to take; its columns: item VARCHAR, v FLOAT")]
    [InlineData("SELECT 'a', [1.0::FLOAT] WHERE false", "has no rows, so its dimension is unknown")]
    public void A_parquet_file_that_is_not_a_table_is_refused(string rows, string message)
        => Assert.Equal(message, Refusal(Parquet($"SELECT * FROM ({rows}) t(item, v)")));

    [Fact]
    public void A_parquet_file_that_is_none_is_refused_with_the_reason()
    {
        Database().Dispose();
        string path = _folder.Write("x.parquet", "PAR1 this is not one PAR1");
        Assert.StartsWith("libduckdb: duckdb_prepare failed with status 1: ", Refusal(path));
    }

    [Fact]
    public void Semantic_ids_are_written_whole_or_not_at_all()
    {
        using DuckDbDatabase database = Database();
        string path = _folder["sids.parquet"];
        ParquetFile.WriteSids(path, ItemIds.FromStrings(["a", "it's b"]), [1, 2, 3, 65535, 0, 7], 3, force: false);
        using (DuckDbRows rows = database.Query($"SELECT item || ' ' || code_1 || ' ' || code_2 || ' ' || code_3 || ' ' || typeof(code_3) FROM read_parquet('{path}')"))
        {
            Assert.True(rows.NextChunk());
            Assert.Equal(["a 1 2 3 USMALLINT", "it's b 65535 0 7 USMALLINT"], Enumerable.Range(0, rows.Count).Select(row => rows.GetText(0, row)));
        }
        Assert.Equal($"{path}: exists; use --force to replace it", Assert.Throws<IOException>(() => ParquetFile.WriteSids(path, ItemIds.Sequential(1), [1], 1, force: false)).Message);
        Assert.Throws<ArgumentException>(() => ParquetFile.WriteSids(path, ItemIds.Sequential(2), [1], 1, force: true));
        ParquetFile.WriteSids(path, ItemIds.Sequential(0), [], 1, force: true);
        Assert.Equal([path], Directory.GetFiles(_folder.Path));
    }

    [Fact]
    public void Without_the_library_the_message_says_how_to_get_it()
    {
        Assert.SkipWhen(DuckDbLibrary.UnavailableReason is null, "libduckdb is here");
        string path = _folder.Write("x.parquet", "PAR1");
        Assert.Contains("./build.sh --target Parquet", Assert.Throws<BackendUnavailableException>(() => EmbeddingTable.Open(path)).Message);
    }
}
