using System.Diagnostics;
using System.Text.Json;
using MmeSid.Engine.Sids;
using MmeSid.Kernels;

namespace MmeSid.Bench.Tests;

/// <summary>What the page of claims is made of: intervals, verdicts, retrieval; and that the command says what it cannot do.</summary>
public sealed class ClaimsTests : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(3);

    private readonly string _results = Directory.CreateTempSubdirectory("mmesid-test-").FullName;

    public void Dispose() => Directory.Delete(_results, recursive: true);

    [Fact]
    public void An_interval_is_students()
    {
        // Standard deviation √2.5, error √(2.5/5) = 0.70711, t with 4 degrees of freedom 2.776445.
        Interval interval = Interval.Of([1, 2, 3, 4, 5]);
        Assert.Equal((3, 5), (interval.Mean, interval.Count));
        Assert.Equal(2.776445 * 0.7071068, interval.Half, 5);
        Assert.Equal(0, Interval.Of([7, 7, 7]).Half);
        Assert.Equal(double.PositiveInfinity, Interval.Of([7]).Half);
        Assert.Throws<ArgumentOutOfRangeException>(() => Interval.Of([]));
    }

    [Fact]
    public void A_difference_is_welchs()
    {
        // Equal sizes and variances: n + m − 2 = 8 degrees of freedom, t 2.306004, error √(2 · 0.5) = 1.
        Interval difference = Interval.Difference([11, 12, 13, 14, 15], [1, 2, 3, 4, 5]);
        Assert.Equal(10, difference.Mean, 12);
        Assert.Equal(2.306004, difference.Half, 5);
        // One sample without variance: the degrees of freedom of the other.
        Assert.Equal(2.776445 * 0.7071068, Interval.Difference([1, 2, 3, 4, 5], [0, 0, 0]).Half, 5);
        Assert.Equal((1, 0), (Interval.Difference([2, 2], [1, 1]).Mean, Interval.Difference([2, 2], [1, 1]).Half));
        Assert.Equal(double.PositiveInfinity, Interval.Difference([2], [1, 1, 1]).Half);
    }

    [Theory]
    [InlineData(0.3, 0.1, 1, "holds")]
    [InlineData(0.3, 0.1, -1, "does not hold")]
    [InlineData(-0.3, 0.1, 1, "does not hold")]
    [InlineData(-0.3, 0.1, -1, "holds")]
    [InlineData(0.3, 0.4, 1, "not decided")]
    [InlineData(-0.3, 0.4, 1, "not decided")]
    [InlineData(0.3, 0.3, 1, "not decided")]
    [InlineData(0, 0, 1, "not decided")]
    [InlineData(0.3, double.PositiveInfinity, 1, "not decided")]
    public void A_verdict_needs_the_whole_interval_on_one_side(double mean, double half, int sign, string expected) =>
        Assert.Equal(expected, Verdicts.Of(new Interval(mean, half, 5), sign).Text());

    [Fact]
    public void Retrieval_draws_among_ties()
    {
        // Items 0 and 1 share a candidate SID. Queries: 0 finds it (one of two), 1 points to item 2's, 2 finds itself, 3 has no direction: all four tie at cosine 0.
        using RowMatrix queries = Rows([3, 0], [0, 5], [0, 1], [0, 0]), candidates = Rows([1, 0], [1, 0], [0, 2], [-1, 0]);
        var querySids = new SidTable(1, [0, 1, 2, 3]);
        var candidateSids = new SidTable(2, [0, 7, 0, 7, 1, 7, 2, 7]);
        Assert.Equal((0.5 + 0 + 1 + 0.25) / 4, CrossModalRetrieval.TopOne(querySids, queries, candidateSids, candidates), 12);
    }

    [Fact]
    public void Retrieval_of_one_shared_SID_is_chance_and_of_the_same_rows_is_certain()
    {
        using RowMatrix same = Rows([1, 2], [1, 2], [1, 2]), different = Rows([1, 2], [2, 1], [-1, 3]);
        Assert.Equal(1 / 3.0, CrossModalRetrieval.TopOne(new SidTable(1, [4, 4, 4]), same, new SidTable(1, [5, 5, 5]), same), 12);
        Assert.Equal(1, CrossModalRetrieval.TopOne(new SidTable(1, [0, 1, 2]), different, new SidTable(1, [2, 1, 0]), different), 12);
        using RowMatrix wide = Rows([1, 2, 3]);
        Assert.Throws<ArgumentException>(() => CrossModalRetrieval.TopOne(new SidTable(1, [0]), wide, new SidTable(1, [0, 1, 2]), different));
    }

    [Fact]
    public void Without_data_or_libtorch_the_page_says_so()
    {
        Assert.Contains("(MMESID_DATA)", Run(("MMESID_DATA", Path.Combine(_results, "nowhere")), ("MMESID_NO_LIBTORCH", "0")).Text.Replace("training needs libtorch", "(MMESID_DATA)", StringComparison.Ordinal), StringComparison.Ordinal);
        (string text, JsonElement json) = Run(("MMESID_NO_LIBTORCH", "1"));
        Assert.Contains("training needs libtorch, which MMESID_NO_LIBTORCH hides", text, StringComparison.Ordinal);
        Assert.Equal(0, json.GetProperty("sets").GetArrayLength());
    }

    private static RowMatrix Rows(params float[][] rows)
    {
        var matrix = new RowMatrix(rows.Length, rows[0].Length);
        for (int row = 0; row < rows.Length; row++)
            rows[row].CopyTo(matrix.Rows(row, 1));
        return matrix;
    }

    private (string Text, JsonElement Json) Run(params (string Name, string Value)[] environment)
    {
        string program = Path.Combine(AppContext.BaseDirectory, OperatingSystem.IsWindows() ? "MmeSid.Bench.exe" : "MmeSid.Bench");
        var start = new ProcessStartInfo(program, ["--claims", "--quick", "--results", _results, "--cache", Path.Combine(_results, "cache")]) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach ((string name, string value) in environment)
            start.Environment[name] = value;
        using Process process = Process.Start(start)!;
        Task<string> output = process.StandardOutput.ReadToEndAsync(), error = process.StandardError.ReadToEndAsync();
        if (!process.WaitForExit(s_patience))
        {
            process.Kill();
            Assert.Fail($"--claims did not end within {s_patience}");
        }
        Assert.True(process.ExitCode == 0, error.Result);
        string page = output.Result.Trim();
        return (File.ReadAllText(page), JsonDocument.Parse(File.ReadAllText(Path.ChangeExtension(page, ".json"))).RootElement);
    }
}
