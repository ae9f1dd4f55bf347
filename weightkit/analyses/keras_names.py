"""The names that Keras itself has: its classes, packages, and the functions that read files."""

from __future__ import annotations

from weightkit.text import words

PACKAGES = words("keras tensorflow tf_keras tensorflow_core")
"""Whose modules a config may name: they are imported anyway. Single functions: see READING."""

RELATED = words(
    "keras_cv keras_nlp keras_hub keras_tuner keras_contrib keras_core tensorflow_addons "
    "tensorflow_hub tensorflow_probability tensorflow_text tensorflow_model_optimization autokeras "
    "qkeras kerastuner larq tfa transformers"
)

SPECIAL = words(
    "function __typespec__ __tensor__ __numpy__ __bytes__ __slice__ __tuple__ __ellipsis__ "
    "__keras_tensor__ __class__ __timedelta__ CompositeTensorSpec TypeSpec TensorShape "
    "DtypePolicy DTypePolicy FloatDTypePolicy QuantizedDTypePolicy DTypePolicyMap Policy "
    "PolicyV1 LossScaleOptimizer DynamicLossScale"
)
"""What is looked up in Keras's own tables, whatever stands around it."""

READING = {
    "get_file": "downloads a file, and unpacks it",
    "load_model": "loads another model",
    "load_weights": "loads other weights",
    "load_img": "reads a file",
    "save_img": "writes a file",
    "save_model": "writes a file",
    "image_dataset_from_directory": "reads files",
    "audio_dataset_from_directory": "reads files",
    "text_dataset_from_directory": "reads files",
    "timeseries_dataset_from_array": "reads files",
    "load_op_library": "loads a native library",
    "load_library": "loads a native library",
    "py_function": "runs a Python function",
    "numpy_function": "runs a Python function",
    "py_func": "runs a Python function",
    "read_file": "reads a file",
    "write_file": "writes a file",
    "enable_unsafe_deserialization": "switches Keras's own protection off",
    "deserialize_keras_object": "builds any other object",
    "model_from_json": "builds another model",
    "model_from_config": "builds another model",
    "extract_archive": "unpacks an archive",
    "validate_file": "reads a file",
    "run_module": "runs a module",
}

VOCABULARY = ("vocabulary", "vocabulary_file", "idf_weights", "filename", "file_path")

CLASSES = words(
    # models
    "Sequential Functional Model "
    # core, wrappers
    "Layer InputLayer InputSpec Dense EinsumDense Embedding Identity Masking Wrapper Bidirectional "
    "TimeDistributed SpectralNormalization ReversibleEmbedding "
    # convolution, pooling, shapes
    "Conv1D Conv2D Conv3D Convolution1D Convolution2D Convolution3D Conv1DTranspose Conv2DTranspose "
    "Conv3DTranspose Convolution2DTranspose Convolution3DTranspose DepthwiseConv1D DepthwiseConv2D "
    "SeparableConv1D SeparableConv2D SeparableConvolution1D SeparableConvolution2D LocallyConnected1D "
    "LocallyConnected2D AveragePooling1D AveragePooling2D AveragePooling3D AvgPool1D AvgPool2D "
    "AvgPool3D MaxPooling1D MaxPooling2D MaxPooling3D MaxPool1D MaxPool2D MaxPool3D "
    "AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D "
    "AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D "
    "GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalAvgPool1D "
    "GlobalAvgPool2D GlobalAvgPool3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D "
    "GlobalMaxPool1D GlobalMaxPool2D GlobalMaxPool3D Flatten Reshape Permute RepeatVector "
    "Cropping1D Cropping2D Cropping3D UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D "
    "ZeroPadding2D ZeroPadding3D Concatenate Add Subtract Multiply Average Maximum Minimum Dot Merge "
    # activation, attention, regularisation, normalisation
    "Activation ReLU LeakyReLU PReLU ELU ThresholdedReLU Softmax Attention AdditiveAttention "
    "MultiHeadAttention GroupQueryAttention GroupedQueryAttention Dropout SpatialDropout1D "
    "SpatialDropout2D SpatialDropout3D AlphaDropout GaussianDropout GaussianNoise "
    "ActivityRegularization BatchNormalization BatchNormalizationV1 BatchNormalizationV2 "
    "SyncBatchNormalization LayerNormalization GroupNormalization UnitNormalization RMSNormalization "
    # recurrent
    "RNN SimpleRNN LSTM GRU LSTMV1 LSTMV2 GRUV1 GRUV2 CuDNNLSTM CuDNNGRU ConvLSTM1D ConvLSTM2D "
    "ConvLSTM3D SimpleRNNCell LSTMCell GRUCell StackedRNNCells PeepholeLSTMCell "
    # preprocessing
    "Normalization Rescaling Resizing CenterCrop RandomCrop RandomFlip RandomTranslation "
    "RandomRotation RandomZoom RandomHeight RandomWidth RandomBrightness RandomContrast "
    "RandomColorDegeneration RandomColorJitter RandomErasing RandomElasticTransform RandomGaussianBlur "
    "RandomGrayscale RandomHue RandomInvert RandomPerspective RandomPosterization RandomSaturation "
    "RandomSharpness RandomShear RandAugment AugMix AutoContrast CutMix MixUp Equalization Solarization "
    "MaxNumBoundingBoxes Discretization CategoryEncoding Hashing HashedCrossing MelSpectrogram "
    "STFTSpectrogram FeatureSpace Pipeline DenseFeatures SequenceFeatures "
    # initializers, regularizers, constraints
    "Zeros Ones Constant RandomNormal RandomUniform TruncatedNormal VarianceScaling Orthogonal "
    "OrthogonalInitializer Identity IdentityInitializer STFT STFTInitializer GlorotNormal "
    "GlorotUniform HeNormal HeUniform LecunNormal LecunUniform zeros ones glorot_uniform "
    "glorot_normal he_normal he_uniform random_normal random_uniform L1 L2 L1L2 OrthogonalRegularizer "
    "MaxNorm MinMaxNorm NonNeg UnitNorm RadialConstraint "
    # optimizers, schedules
    "SGD RMSprop Adagrad Adadelta Adam AdamW Adamax Nadam Ftrl Lion Lamb Muon Adafactor "
    "ExponentialDecay PiecewiseConstantDecay PolynomialDecay InverseTimeDecay CosineDecay "
    "CosineDecayRestarts "
    # losses and metrics
    "BinaryCrossentropy BinaryFocalCrossentropy CategoricalCrossentropy CategoricalFocalCrossentropy "
    "SparseCategoricalCrossentropy MeanSquaredError MeanAbsoluteError MeanAbsolutePercentageError "
    "MeanSquaredLogarithmicError CosineSimilarity Huber LogCosh Poisson KLDivergence Hinge SquaredHinge "
    "CategoricalHinge CTC Dice Tversky Circle CategoricalGeneralizedCrossEntropy Mean Sum MeanTensor "
    "MeanMetricWrapper Accuracy BinaryAccuracy CategoricalAccuracy SparseCategoricalAccuracy "
    "TopKCategoricalAccuracy SparseTopKCategoricalAccuracy AUC Precision Recall TruePositives "
    "TrueNegatives FalsePositives FalseNegatives PrecisionAtRecall RecallAtPrecision "
    "SensitivityAtSpecificity SpecificityAtSensitivity RootMeanSquaredError MeanIoU IoU BinaryIoU "
    "OneHotIoU OneHotMeanIoU F1Score FBetaScore R2Score LogCoshError ConcordanceCorrelation "
    "PearsonCorrelation CompileMetrics LossFunctionWrapper "
    # judged by what they name, not by being there
    "Lambda TorchModuleWrapper TFSMLayer StringLookup IntegerLookup IndexLookup TextVectorization "
    "TFOpLambda SlicingOpLambda TensorFlowOpLayer ClassMethod InstanceMethod InstanceProperty "
    "JaxLayer FlaxLayer"
)
"""Classes of ``keras`` and ``tf.keras``, which a config of Keras 2 names without a module."""
