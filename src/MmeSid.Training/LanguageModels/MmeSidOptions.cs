namespace MmeSid.Training.LanguageModels;

/// <summary>How the scores of an item's vectors are put together.</summary>
public enum ScoreFusion
{
    /// <summary>Frequency-aware fusion: weights of the item table and of each modality by how often the item occurs in training.</summary>
    Frequency,

    /// <summary>The same weight for all of them.</summary>
    Equal,

    /// <summary>The item table alone.</summary>
    None,
}

/// <summary>Shape and batches of a <see cref="MmeSidLlama"/>.</summary>
public sealed record MmeSidOptions : LlamaTrainingOptions
{
    /// <summary>How scores are put together.</summary>
    public ScoreFusion Fusion { get; init; }

    /// <summary>What the logits of the weights are divided by before their softmax: 1 is the printed equation, 1e-3 the released code, which makes weights nearly one-hot.</summary>
    public double Temperature { get; init; } = 1;

    /// <summary>Where code tables start (<see cref="SidVectors.DrawSummed"/>).</summary>
    public SidEmbeddingStart Start { get; init; }

    /// <inheritdoc/>
    public override void Validate()
    {
        base.Validate();
        if (!(Temperature > 0) || !double.IsFinite(Temperature))
            throw new ArgumentException(FormattableString.Invariant($"the temperature is {Temperature}, expected a positive number"));
    }

    /// <summary>The shape of the transformer.</summary>
    public LlamaShape Shape() => ShapeOf(Length);

    /// <summary>Refuses a base whose context is shorter than a whole history and the words around it.</summary>
    /// <param name="shape">Of the base.</param>
    /// <param name="prompt">Words before and behind a history.</param>
    /// <exception cref="ArgumentException">The context and what is needed.</exception>
    public void RequireRoom(LlamaShape shape, int prompt) => RequireContext(shape, prompt + Length, $"a history of {Length} items{(prompt > 0 ? $" and {prompt} tokens around it" : "")}");
}
