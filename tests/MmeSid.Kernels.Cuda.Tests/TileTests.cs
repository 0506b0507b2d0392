using MmeSid.Bench;
using MmeSid.Kernels.Scalar;

namespace MmeSid.Kernels.Cuda.Tests;

/// <summary>Tile shapes: which there are, how they are measured, and what is remembered of it.</summary>
public sealed class TileTests : IDisposable
{
    // What every GPU since Ampere grants a block.
    private const int kLeastSharedBytes = 99 << 10;

    private readonly string _folder = Directory.CreateTempSubdirectory("mmesid-tests-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Every_arithmetic_has_a_screen_for_every_gpu()
    {
        foreach (ScreenKind kind in Screens.Kinds)
        {
            Assert.Equal(0, Screen.Default(kind).Capability);
            Assert.InRange(Screen.Default(kind).SharedBytes, 1, kLeastSharedBytes);
        }
    }

    [Fact]
    public void The_nearest_measured_shape_decides()
    {
        string file = Path.Combine(_folder, "tiles", "gpu.json");
        TileCache.Write(file, [new(Screen.Named("screen_int8_128x256"), 768, 4096), new(Screen.Named("screen_int8_256x128"), 64, 256)]);
        TileCache cache = TileCache.Read(file);

        Assert.Equal("screen_int8_128x256", cache.Screen(ScreenKind.Int8, 768, 4096).Name);
        Assert.Equal("screen_int8_128x256", cache.Screen(ScreenKind.Int8, 1024, 2048).Name);
        Assert.Equal("screen_int8_256x128", cache.Screen(ScreenKind.Int8, 96, 256).Name);
        Assert.Equal("screen_int8_128x128", cache.Screen(ScreenKind.Int8, 8192, 256).Name);
        Assert.Equal("screen_float16_128x128", cache.Screen(ScreenKind.Float16, 768, 4096).Name);
        // Codes that the shape does not divide.
        Assert.Equal("screen_int8_256x128", cache.Screen(ScreenKind.Int8, 64, 128).Name);
        Assert.Single(Directory.GetFiles(Path.GetDirectoryName(file)!));
    }

    [Theory]
    [InlineData("")]
    [InlineData("{")]
    [InlineData("[]")]
    [InlineData("{\"tiles\": 3}")]
    [InlineData("{\"tiles\": [{\"kernel\": \"screen_of_another_build\", \"depth\": 64, \"codes\": 256}]}")]
    [InlineData("{\"tiles\": [{\"kernel\": \"screen_int8_128x256\", \"depth\": \"much\", \"codes\": 256}]}")]
    public void A_broken_file_is_as_good_as_none(string text)
    {
        string file = Path.Combine(_folder, "gpu.json");
        File.WriteAllText(file, text);
        Assert.Equal(Screen.Default(ScreenKind.Int8), TileCache.Read(file).Screen(ScreenKind.Int8, 64, 256));
    }

    [Fact]
    public void Every_screen_that_fits_is_measured_and_the_fastest_is_taken()
    {
        CudaBackend backend = Backends.Cuda();
        var tiles = new List<TunedTile>();
        string file = CudaTuner.Run(backend, [40], [100, 200], tiles.Add, TestContext.Current.CancellationToken);

        Assert.All(tiles, tile => Assert.True(tile.IsRight, tile.Kernel));
        string[] expected = [.. Screen.All.Where(screen => screen.Fits(backend.Gpu)).Select(screen => screen.Name)];
        Assert.Equal(expected, tiles.Where(tile => tile.Codes == 200).Select(tile => tile.Kernel));
        Assert.Equal(expected.Where(name => Screen.Named(name).Codes == 128), tiles.Where(tile => tile.Codes == 100).Select(tile => tile.Kernel));
        TunedTile fastest = tiles.Where(tile => tile.Codes == 200 && Screen.Named(tile.Kernel).Kind == ScreenKind.Int8).MinBy(tile => tile.Milliseconds)!;
        Assert.Equal(fastest.Kernel, TileCache.Of(backend.Gpu).Screen(ScreenKind.Int8, 40, 256).Name);
        // Another shape joins what is known.
        CudaTuner.Run(backend, [24], [100], _ => { }, TestContext.Current.CancellationToken);
        Assert.Equal(fastest.Kernel, TileCache.Of(backend.Gpu).Screen(ScreenKind.Int8, 40, 256).Name);
        File.Delete(file);
    }

    public static TheoryData<string> Names() => [.. Screen.All.Select(screen => screen.Name)];

    [Theory, MemberData(nameof(Names))]
    public void Deep_rows_pass_through_every_buffer_more_than_once(string screen)
    {
        const int n = 140, d = 1000, codeCount = 256;
        // Rows between two codewords, a little nearer to one: a screen proves them all, and misses the code if any of its products is wrong.
        float[] codebook = Cases.Bell(1, codeCount * d), rows = new float[n * d];
        for (int i = 0; i < rows.Length; i++)
            rows[i] = 0.55f * codebook[i / d * 7 % codeCount * d + i % d] + 0.45f * codebook[(i / d * 7 + 1 + i / d % 5) % codeCount * d + i % d];
        EncodePlan plan = new(PlanKind.Residual, d, [codebook]);
        ushort[] expected = new ushort[n], actual = new ushort[n];
        using IEncoder oracle = new ScalarBackend().CreateEncoder(plan), encoder = Backends.Cuda(screen).CreateEncoder(plan);
        oracle.Encode(new RowView(rows, d), expected);
        Assert.InRange(encoder.Encode(new RowView(rows, d), actual).RecheckedShare, 0, 0.05);
        Assert.Equal(expected, actual);
    }

    [Fact]
    public void One_operand_serves_all_levels_unless_a_gpu_is_faster_with_one_each()
    {
        Cases.EncodeCase plan = new(PlanKind.Residual, Cases.EncodeData.Bell, 300, 24, [32, 32, 32]);
        using var shared = (CudaEncoder)Backends.Cuda("screen_int8_128x128", shareOperand: true).CreateEncoder(plan.Plan());
        using var each = (CudaEncoder)Backends.Cuda("screen_int8_128x128").CreateEncoder(plan.Plan());
        Assert.Single(shared.Choice);
        Assert.Equal(3, each.Choice.Count);
    }
}
