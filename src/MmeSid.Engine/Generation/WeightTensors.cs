using System.Numerics.Tensors;
using MmeSid.Engine.Files;
using MmeSid.Kernels;

namespace MmeSid.Engine.Generation;

/// <summary>Matrices of a model's weights, checked as they are read.</summary>
internal static class WeightTensors
{
    /// <summary>Reads a float32 matrix.</summary>
    /// <param name="file">The weights.</param>
    /// <param name="name">Its name.</param>
    /// <param name="rows">Rows that it must have.</param>
    /// <param name="dimension">Values per row, or 0 where any number will do.</param>
    /// <exception cref="InvalidDataException">It is missing, of another type or shape, or holds a value that is not finite.</exception>
    public static RowMatrix ReadMatrix(SafetensorsFile file, string name, long rows, int dimension)
    {
        SafetensorsEntry entry = file.Entry(name);
        if (entry.Type != ElementType.Float32 || entry.Shape.Count != 2 || entry.Shape[0] != rows || entry.Shape[1] is < 1 or > RowView.MaximumDimension || (dimension != 0 && entry.Shape[1] != dimension))
        {
            throw new InvalidDataException(
                $"{file.Path}: tensor {name} is {entry.Type} of shape [{string.Join(", ", entry.Shape)}], expected {ElementType.Float32} of [{rows}, {(dimension == 0 ? "H" : dimension)}]");
        }
        var matrix = new RowMatrix(rows, (int)entry.Shape[1]);
        try
        {
            int step = Math.Max(1, Math.Min(matrix.MaximumSpanRows / sizeof(float), 1 + ((1 << 22) / matrix.Dimension)));
            for (long first = 0; first < rows; first += step)
            {
                Span<float> values = matrix.Rows(first, (int)Math.Min(step, rows - first));
                file.ReadBytes(name, first * matrix.Dimension * sizeof(float), System.Runtime.InteropServices.MemoryMarshal.AsBytes(values));
                // A sum of magnitudes is finite only where every value is; magnitudes whose sum overflows are no weights either.
                if (!float.IsFinite(TensorPrimitives.SumOfMagnitudes<float>(values)))
                    throw new InvalidDataException($"{file.Path}: tensor {name} holds values that are not finite");
            }
            return matrix;
        }
        catch
        {
            matrix.Dispose();
            throw;
        }
    }
}
